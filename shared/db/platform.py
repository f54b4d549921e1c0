"""The tables that every service has: outbox, consumer state, dead letters, idempotency, directory, feeds.

A service adds them to its own metadata, so that they live in its database and in its migrations.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
Moment = TIMESTAMP(timezone=True)


def new_metadata() -> MetaData:
    """Return the metadata of a service, with the platform tables in it."""
    metadata = MetaData(naming_convention=NAMING)
    _messaging(metadata)
    _http(metadata)
    _directory(metadata)
    return metadata


def _message_columns() -> list[Column[object]]:
    return [
        Column("topic", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("headers", JSONB, nullable=False),
        Column("value", LargeBinary, nullable=False),
    ]


def _messaging(metadata: MetaData) -> None:
    Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        *_message_columns(),
        Column("created_at", Moment, nullable=False, server_default=func.clock_timestamp()),
    )
    Table(
        "consumer_offset",
        metadata,
        Column("grp", Text, primary_key=True),
        Column("topic", Text, primary_key=True),
        Column("part", Integer, primary_key=True),
        Column("bus_id", Text, nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("next_off", BigInteger, nullable=False),
    )
    Table(
        "stream_position",
        metadata,
        Column("grp", Text, primary_key=True),
        Column("stream", Text, primary_key=True),
        Column("version", BigInteger, nullable=False),
    )
    Table(
        "parked_message",
        metadata,
        Column("grp", Text, primary_key=True),
        Column("stream", Text, primary_key=True),
        Column("version", BigInteger, primary_key=True),
        *_message_columns(),
        Column("parked_at", Moment, nullable=False, server_default=func.clock_timestamp()),
    )
    Table(
        "dead_letter",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("grp", Text, nullable=False),
        Column("part", Integer, nullable=False),
        Column("off", BigInteger, nullable=False),
        Column("stream", Text),
        Column("version", BigInteger),
        *_message_columns(),
        Column("code", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("failed_at", Moment, nullable=False, server_default=func.clock_timestamp()),
        Column("replayed_at", Moment),
        Index("ix_dead_letter_waiting", "grp", "stream", postgresql_where=text("replayed_at IS NULL")),
    )


def _http(metadata: MetaData) -> None:
    Table(
        "idempotency_key",
        metadata,
        Column("scope", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("request_hash", LargeBinary, nullable=False),
        Column("status", Integer, nullable=False),
        Column("headers", JSONB, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("created_at", Moment, nullable=False, server_default=func.clock_timestamp()),
        Index("ix_idempotency_key_created_at", "created_at"),
    )
    Table(
        "stream_ticket",
        metadata,
        Column("digest", LargeBinary, primary_key=True),
        Column("principal", JSONB, nullable=False),
        Column("expires_at", Moment, nullable=False),
    )
    Table(
        "feed_counter",
        metadata,
        Column("feed", Text, primary_key=True),
        Column("last_seq", BigInteger, nullable=False),
    )
    Table(
        "feed_entry",
        metadata,
        Column("feed", Text, primary_key=True),
        Column("seq", BigInteger, primary_key=True),
        Column("scope", Text, nullable=False),
        Column("event", Text, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("created_at", Moment, nullable=False, server_default=func.clock_timestamp()),
    )


def _directory(metadata: MetaData) -> None:
    Table(
        "directory_person",
        metadata,
        Column("person_id", Uuid, primary_key=True),
        Column("external_id", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("deleted", Boolean, nullable=False),
        Index("ix_directory_person_external_id", "external_id"),
    )
    Table(
        "directory_membership",
        metadata,
        Column("person_id", Uuid, primary_key=True),
        Column("ordinal", Integer, primary_key=True),
        Column("team_id", Uuid, nullable=False),
        Column("start_day", Date, nullable=False),
        Column("end_day", Date, nullable=False),
        Index("ix_directory_membership_team_id", "team_id"),
    )
    Table(
        "directory_team",
        metadata,
        Column("team_id", Uuid, primary_key=True),
        Column("external_id", Text, nullable=False),
        Column("parent_id", Uuid),
        Column("manager_id", Uuid),
        Column("version", BigInteger, nullable=False),
        Column("deleted", Boolean, nullable=False),
    )
    # The SHA-256 of each key's secret in hexadecimal: every service verifies keys by itself.
    Table(
        "directory_api_key",
        metadata,
        Column("key_id", Uuid, primary_key=True),
        Column("hash", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("person", Text),
        Column("scopes", JSONB, nullable=False),
        Column("expires_at", Moment),
        Column("version", BigInteger, nullable=False),
        Column("deleted", Boolean, nullable=False),
    )

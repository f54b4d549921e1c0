"""The KPI service's tables.

Everything derived from the streams carries its `generation`, so that a rebuild can fill a new one beside live traffic.
Owners and slices are kept as numbers: a cell's key is five integers.
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
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.platform import Moment, new_metadata

metadata = new_metadata()

generation = Table(
    "generation",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("state", Text, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=func.clock_timestamp()),
    # There is exactly one present truth.
    Index("uq_generation_active", "state", unique=True, postgresql_where=text("state = 'active'")),
)

entity_state = Table(
    "entity_state",
    metadata,
    Column("generation", Integer, primary_key=True),
    Column("stream", Text, primary_key=True),
    # What facts name the stream by.
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", LargeBinary),
    postgresql_with={"fillfactor": 80},
)

owner = Table(
    "owner",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False),
    UniqueConstraint("key"),
)

slice_ = Table(
    "slice",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("process", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("currency", Text, nullable=False),
    UniqueConstraint("process", "stage", "product", "source", "currency"),
)

fact = Table(
    "fact",
    metadata,
    Column("entity", BigInteger, primary_key=True, autoincrement=False),
    Column("measure", SmallInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    # The stream's version that made the fact: one fact may be told again later.
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    Column("owner", Integer, nullable=False),
    Column("slice", Integer, nullable=False),
    Column("num", BigInteger, nullable=False),
    Column("den", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("duration", BigInteger),
    Column("known_from", Moment, nullable=False),
    Column("known_to", Moment),
    Index(
        "ix_fact_duration",
        "generation",
        "measure",
        "day",
        postgresql_where=text("known_to IS NULL AND duration IS NOT NULL"),
    ),
)

cell = Table(
    "cell",
    metadata,
    Column("generation", Integer, primary_key=True),
    Column("measure", SmallInteger, primary_key=True, autoincrement=False),
    # 0 is the whole organisation: what everybody reads must not add up all owners.
    Column("owner", Integer, primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("slice", Integer, primary_key=True, autoincrement=False),
    Column("num", BigInteger, nullable=False),
    Column("den", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    postgresql_with={"fillfactor": 70},
)

freshness = Table(
    "freshness",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("recorded_at", Moment, nullable=False),
)

process = Table(
    "process",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("name", JSONB, nullable=False),
    Column("stages", JSONB, nullable=False),
)

watch = Table(
    "watch",
    metadata,
    Column("key", Text, primary_key=True),
    Column("kpi", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("grain", Text, nullable=False),
    Column("start_day", Date),
    Column("end_day", Date),
    Column("currency", Text),
    Column("process", Text),
    Index("ix_watch_scope_kpi", "scope", "kpi"),
)

watch_subscriber = Table(
    "watch_subscriber",
    metadata,
    Column("subscriber", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("expires_at", Moment),
)

watch_subscription = Table(
    "watch_subscription",
    metadata,
    Column("subscriber", Text, primary_key=True),
    Column("watch_key", Text, primary_key=True),
    Index("ix_watch_subscription_watch_key", "watch_key"),
)

# What was announced last, one row per currency and period; a version never goes back, whatever is rebuilt.
watch_value = Table(
    "watch_value",
    metadata,
    Column("watch_key", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("period_start", Date, primary_key=True),
    Column("period_end", Date, nullable=False),
    Column("value", Text),
    Column("numerator", Text),
    Column("denominator", Text),
    Column("sample_size", BigInteger, nullable=False),
    Column("reason", Text),
    Column("definition_version", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", Moment, nullable=False),
)

# Appended by folds, one row each, and taken by the announcer: a fold never waits for a watch.
touched = Table(
    "touched",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("marks", LargeBinary, nullable=False),
)

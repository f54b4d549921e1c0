"""The tables of the notify service."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.platform import Moment, new_metadata

metadata = new_metadata()

RULE = Table(
    "alert_rule",
    metadata,
    Column("rule_id", Uuid, primary_key=True),
    Column("name", JSONB, nullable=False),
    Column("condition", JSONB, nullable=False),
    Column("watch_key", Text),
    Column("scope", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("channels", ARRAY(Uuid), nullable=False),
    Column("addressed_to", JSONB(none_as_null=True)),
    Column("bounded_by", Text),
    Column("created_by", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Index("ix_alert_rule_watch_key", "watch_key", postgresql_where=text("NOT deleted")),
)

CHANNEL = Table(
    "channel",
    metadata,
    Column("channel_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", JSONB(none_as_null=True)),
    Column("url", Text),
    Column("secret", Text),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("created_by", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("version", BigInteger, nullable=False),
)

# The newest announced value of each rolling watch and period: a new rule is held against it at once.
WATCHED_VALUE = Table(
    "watched_value",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("watch_key", Text, nullable=False),
    Column("currency", Text),
    Column("period_start", Date, nullable=False),
    Column("event", JSONB, nullable=False),
    Index("ix_watched_value_watch_key", "watch_key"),
)

# The state of each goal and quota as last heard: a change of it is what rules are about.
GOAL_STANDING = Table(
    "goal_standing",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
)

ALERT = Table(
    "alert",
    metadata,
    Column("alert_id", Uuid, primary_key=True),
    Column("rule_id", Uuid, nullable=False),
    Column("instance", Text, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("subject", JSONB, nullable=False),
    Column("about", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("owner", Text),
    Column("due_at", Moment, nullable=False),
    Column("fired_at", Moment),
    Column("resolved_at", Moment),
    Column("resolution", Text),
    Column("resolved_value", Text),
    Column("acknowledged_at", Moment),
    Column("acknowledged_by", Text),
    Column("note", Text),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text),
    Column("traceparent", Text, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("instance", "opened_by"),
    Index("uq_alert_open", "instance", unique=True, postgresql_where=text("state <> 'resolved'")),
    Index("ix_alert_due", "due_at", postgresql_where=text("state = 'pending'")),
    Index("ix_alert_about_open", "about", postgresql_where=text("state <> 'resolved'")),
    Index("ix_alert_rule_id", "rule_id"),
)

DELIVERY = Table(
    "delivery",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("alert_id", Uuid, nullable=False),
    Column("transition", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("channel_id", Uuid),
    Column("recipient", Text),
    Column("state", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("queued_at", Moment, nullable=False),
    Column("next_at", Moment, nullable=False),
    Column("lease_until", Moment),
    Column("tries", Integer, nullable=False),
    Column("attempts", JSONB, nullable=False),
    Column("sent_at", Moment),
    UniqueConstraint("alert_id", "transition", "target"),
    Index("ix_delivery_due", "next_at", postgresql_where=text("state IN ('pending', 'failed')")),
    Index("ix_delivery_recipient", "recipient", postgresql_where=text("recipient IS NOT NULL")),
)

INBOX_ITEM = Table(
    "inbox_item",
    metadata,
    Column("item_id", Uuid, primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("alert_id", Uuid, nullable=False),
    Column("transition", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("read_at", Moment),
    Index("ix_inbox_item_recipient_item_id", "recipient", "item_id"),
)

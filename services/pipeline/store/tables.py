"""The tables of pipeline. Personal text lives only in the columns that PERSONAL_COLUMNS names, and can be erased."""

from collections.abc import Mapping

from sqlalchemy import BigInteger, Boolean, Column, Date, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.platform import Moment, new_metadata

metadata = new_metadata()

process = Table(
    "process",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state_version", BigInteger, nullable=False),
)

process_version = Table(
    "process_version",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", JSONB, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text),
)

deal = Table(
    "deal",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("process_version", Integer, nullable=False),
    Column("stage", Text, nullable=False),
    Column("stage_kind", Text, nullable=False),
    Column("stage_order", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("owner", Text),
    Column("customer_id", Uuid),
    Column("amount", BigInteger),
    Column("currency", Text),
    Column("product", Text),
    Column("source", Text),
    Column("external_id", Text),
    Column("expected_close_on", Date),
    Column("lost_reason", Text),
    Column("fields", JSONB, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("stage_entered_at", Moment),
    Column("sla_due_at", Moment),
    Column("sla_breached", Boolean, nullable=False),
    Column("closed_at", Moment),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index(
        "uq_deal_external_id",
        "external_id",
        "source",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=text("external_id IS NOT NULL AND status <> 'deleted'"),
    ),
    Index("ix_deal_updated_at", "updated_at", "id"),
    Index("ix_deal_customer_id", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
    Index("ix_deal_sla_due_at", "sla_due_at", postgresql_where=text("status = 'open' AND NOT sla_breached")),
)

# The truth of the deal stream, kept for ever: the very messages that were announced.
deal_history = Table(
    "deal_history",
    metadata,
    Column("deal_id", Uuid, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("headers", JSONB, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("reason", Text),
)

task = Table(
    "task",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("deal_id", Uuid, nullable=False),
    Column("stage", Text, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("code", Text),
    Column("name", JSONB),
    Column("title", Text),
    Column("mandatory", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("owner", Text),
    Column("due_at", Moment),
    Column("done_at", Moment),
    Column("result", JSONB),
    Column("version", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("ix_task_deal_id", "deal_id", "visit"),
    Index("ix_task_due_at", "due_at", postgresql_where=text("status = 'open'")),
)

sla_breach = Table(
    "sla_breach",
    metadata,
    Column("deal_id", Uuid, primary_key=True),
    Column("visit", Integer, primary_key=True),
    Column("level", Integer, primary_key=True),
    Column("due_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
)

customer = Table(
    "customer",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("contact", JSONB, nullable=False),
    Column("lifecycle", Text, nullable=False),
    Column("lifecycle_at", Moment),
    Column("owner", Text),
    Column("segment", Text),
    Column("sector", Text),
    Column("source", Text),
    Column("external_id", Text),
    Column("erased", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index(
        "uq_customer_external_id",
        "external_id",
        "source",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=text("external_id IS NOT NULL AND NOT erased"),
    ),
    Index("ix_customer_updated_at", "updated_at", "id"),
)

customer_history = Table(
    "customer_history",
    metadata,
    Column("customer_id", Uuid, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("headers", JSONB, nullable=False),
    Column("value", LargeBinary, nullable=False),
)

PERSONAL_COLUMNS: Mapping[Table, tuple[str, ...]] = {
    deal: ("name", "fields"),
    deal_history: ("reason",),
    task: ("title", "result"),
    customer: ("name", "contact"),
}

# Imports, sources and inbound webhooks

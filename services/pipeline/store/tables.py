"""The tables of pipeline. Personal text lives only in the columns that PERSONAL_COLUMNS names, and can be erased.

What callers sent (files and webhooks) may hold it, too: it is kept as it came for at most 30 days.
"""

from collections.abc import Mapping

from sqlalchemy import BigInteger, Boolean, Column, Date, Identity, Index, Integer, LargeBinary, Table, Text, Uuid, text
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
    Column("state_version", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text),
)

product = Table(
    "product",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("series", Text),
    Column("list_price", BigInteger),
    Column("currency", Text),
    Column("active", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
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
# What a caller uploaded or sent, kept until it is processed and then for at most 30 days.
import_job = Table(
    "import_job",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("mapping", JSONB, nullable=False),
    Column("file_name", Text),
    Column("format", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("columns", JSONB, nullable=False),
    Column("size", BigInteger, nullable=False),
    # The first byte and physical line that is not yet taken; behind the file, the last deal of a stage log.
    Column("position", BigInteger, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("grouped_until", JSONB),
    Column("rows", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("undated", BigInteger, nullable=False),
    Column("failure", Text),
    Column("actor", Text),
    Column("correlation_id", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("completed_at", Moment),
    Column("expired", Boolean, nullable=False),
    Index("ix_import_job_running", "created_at", postgresql_where=text("status = 'running'")),
    Index("ix_import_job_created_at", "created_at", "id"),
)

import_chunk = Table(
    "import_chunk",
    metadata,
    Column("import_id", Uuid, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

import_error = Table(
    "import_error",
    metadata,
    Column("import_id", Uuid, primary_key=True),
    Column("line", BigInteger, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("column_name", Text),
    Column("code", Text, nullable=False),
    Column("value", Text),
    Column("row", Text, nullable=False),
)

# The ids that a file has told so far: a second row with the same id is an error that names the first.
import_row = Table(
    "import_row",
    metadata,
    Column("import_id", Uuid, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("line", BigInteger, nullable=False),
)

# How many stage entries a file told last of a deal: one that tells fewer takes entries back.
import_told = Table(
    "import_told",
    metadata,
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("entries", Integer, nullable=False),
)

# The rows of a stage log, until all of the file is read and each deal has its whole course.
import_stage = Table(
    "import_stage",
    metadata,
    Column("import_id", Uuid, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("line", BigInteger, primary_key=True),
    Column("process", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("at", Moment),
    Column("owner", Text),
    Column("row", Text, nullable=False),
)

crm_source = Table(
    "crm_source",
    metadata,
    Column("source", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("mapping", JSONB, nullable=False),
    Column("secrets", JSONB, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

webhook = Table(
    "webhook",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("source", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("body", LargeBinary),
    Column("problems", JSONB, nullable=False),
    Column("external_id", Text),
    Column("deal_id", Uuid),
    Column("occurred_at", Moment),
    Column("correlation_id", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("processed_at", Moment),
    Index("uq_webhook_message", "source", "message_id", unique=True),
    Index("uq_webhook_seq", "seq", unique=True),
    Index("ix_webhook_received", "seq", postgresql_where=text("status = 'received'")),
    Index("ix_webhook_received_at", "received_at"),
    Index("ix_webhook_processed", "source", "external_id", postgresql_where=text("status = 'processed'")),
)

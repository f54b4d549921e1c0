"""The tables of goals. Names of people are in `person.name` only: the one erasable place of this service."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.platform import Moment, new_metadata

metadata = new_metadata()

team = Table(
    "team",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("external_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent_id", Uuid, ForeignKey("team.id")),
    Column("manager_id", Uuid),
    Column("manager_ref", Text),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    UniqueConstraint("external_id"),
    Index("ix_team_parent_id", "parent_id"),
    Index("ix_team_awaiting_manager", "manager_ref", postgresql_where=text("manager_id IS NULL")),
)

person = Table(
    "person",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("external_id", Text, nullable=False),
    Column("name", Text),
    Column("role", Text, nullable=False),
    Column("memberships", JSONB, nullable=False),
    Column("ability_bp", Integer, nullable=False),
    Column("experience_months", Integer, nullable=False),
    Column("availability_bp", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    UniqueConstraint("external_id"),
    CheckConstraint("ability_bp BETWEEN 0 AND 10000", name="ability"),
    CheckConstraint("availability_bp BETWEEN 0 AND 10000", name="availability"),
)

# API keys of machines: the SHA-256 of each secret, never the secret. Kept when taken back: histories name them.
api_key = Table(
    "api_key",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("person", Text),
    Column("scopes", JSONB, nullable=False),
    Column("expires_at", Moment),
    Column("replaces", Uuid, ForeignKey("api_key.id")),
    Column("created_by", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", Moment, nullable=False),
)

# Every version of every team and person: ids and numbers only, kept for ever.
directory_history = Table(
    "directory_history",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("subject_id", Uuid, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("effective_on", Date),
    Column("recorded_at", Moment, nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("state", JSONB, nullable=False),
)

goal = Table(
    "goal",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("title", Text, nullable=False),
    Column("kpi", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("grain", Text, nullable=False),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("currency", Text),
    Column("target", Numeric, nullable=False),
    Column("baseline", JSONB),
    Column("allocation_version", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("deleted", Boolean, nullable=False),
)

# Every plan that was ever made of a goal; the one in force is goal.allocation_version.
allocation = Table(
    "allocation",
    metadata,
    Column("goal_id", Uuid, ForeignKey("goal.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("shared_to", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("bounds", JSONB, nullable=False),
    Column("target", Numeric, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("recorded_by", Text, nullable=False),
)

quota = Table(
    "quota",
    metadata,
    Column("goal_id", Uuid, ForeignKey("goal.id"), primary_key=True),
    Column("allocation_version", Integer, primary_key=True),
    Column("person_id", Uuid, ForeignKey("person.id"), primary_key=True),
    Column("team_id", Uuid),
    Column("quota", Numeric, nullable=False),
    Column("explanation", JSONB, nullable=False),
    Index("ix_quota_person_id", "person_id"),
)

# How far each target has come: of a goal (holder `goal`) or of one person's quota (holder is the person's id).
# `version` is that of the last announced GoalProgressed, 0 before the first.
progress = Table(
    "progress",
    metadata,
    Column("goal_id", Uuid, ForeignKey("goal.id"), primary_key=True),
    Column("holder", Text, primary_key=True),
    Column("kpi", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("currency", Text),
    Column("target", Numeric, nullable=False),
    Column("watch_key", Text, nullable=False),
    Column("value_version", BigInteger, nullable=False),
    Column("result", Numeric),
    Column("reason", Text),
    Column("as_of", Moment),
    Column("attainment", Numeric),
    Column("pace", Numeric),
    Column("state", Text, nullable=False),
    Column("state_before", Text),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Index("ix_progress_watch_key", "watch_key"),
)

# The newest announced value of every fixed range of days, whoever watches it: a goal made later finds it here.
# Version 0 is a place that a goal waits at.
watched_value = Table(
    "watched_value",
    metadata,
    Column("watch_key", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("value", Numeric),
    Column("reason", Text),
    Column("as_of", Moment),
)

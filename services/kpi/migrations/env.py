"""Runs the KPI service's revisions."""

from services.kpi.store.tables import metadata
from shared.db.migration_environment import run

run(metadata)

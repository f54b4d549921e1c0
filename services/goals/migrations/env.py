"""Runs the goals service's revisions."""

from services.goals.store.tables import metadata
from shared.db.migration_environment import run

run(metadata)

"""Runs pipeline's revisions."""

from services.pipeline.store.tables import metadata
from shared.db.migration_environment import run

run(metadata)

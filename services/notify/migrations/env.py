"""Runs notify's revisions."""

from services.notify.store.tables import metadata
from shared.db.migration_environment import run

run(metadata)

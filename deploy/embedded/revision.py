"""`make revision service=kpi m="what changes"`: a new Alembic revision, against a database at the newest one."""

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path

from alembic import command

from deploy.embedded.assembly import SERVICES
from deploy.embedded.postgres import EmbeddedPostgres
from shared.db.migrations import configuration, upgrade


def write_revision(service: str, message: str, data_dir: Path) -> None:
    """Write the next revision file of `service`, from what its tables say that its revisions do not."""
    server = EmbeddedPostgres(data_dir, durable=False)
    server.start()
    try:
        server.ensure_databases([service])
        asyncio.run(upgrade(server.url(service), service))
        command.revision(configuration(server.url(service), service), message, autogenerate=True)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("message")
    arguments = parser.parse_args()
    data_dir = Path(tempfile.mkdtemp(prefix="salesgrain-revision-"))
    try:
        write_revision(arguments.service, arguments.message, data_dir)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    main()

"""`python -m deploy.distributed --data-dir DIR --port N [--bus kafka|postgres] [--replicas 2]`."""

import argparse
import asyncio
import sys
from pathlib import Path

import uvloop

from deploy.distributed.mode import Wanted, serve
from deploy.embedded.data_directory import default_data_directory
from deploy.embedded.postgres_errors import EmbeddedPostgresError
from deploy.kafka.jars import LocalKafkaError
from shared.auth.development_issuer import DevelopmentIssuerRefused
from shared.logging import configure_logging
from shared.settings import Settings


def main() -> None:
    """Run it until SIGTERM or Ctrl-C; ends with code 1 and one clear message when it cannot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--bus", choices=("kafka", "postgres"), default="kafka")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--run-as", default=None)
    told = parser.parse_args()
    settings = Settings.from_environment()
    configure_logging(settings.log_level, settings.log_format)
    data_dir = told.data_dir or default_data_directory()
    wanted = Wanted(data_dir, told.host, told.port, told.bus, told.replicas, told.run_as)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(wanted))
    except (EmbeddedPostgresError, LocalKafkaError, DevelopmentIssuerRefused) as error:
        sys.exit(f"salesgrain: {error}")


if __name__ == "__main__":
    main()

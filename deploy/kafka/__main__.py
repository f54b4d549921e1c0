"""`python -m deploy.kafka [--brokers 1|3]`: a Kafka for a developer, until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import signal
import sys

from deploy.kafka.cluster import running_kafka
from deploy.kafka.jars import LocalKafkaError


def main() -> None:
    """Run it; exits with 1 and one clear line when it cannot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_kafka(arguments.brokers) as kafka:
            asyncio.run(kafka.wait_ready())
            sys.stdout.write(
                f"BUS_URL={kafka.url}\n"
                f"KAFKA_BOOTSTRAP_SERVERS={kafka.servers}\n"
                f"make its topics: BUS_URL={kafka.url} salesgrain topics   (Ctrl-C ends it)\n"
            )
            sys.stdout.flush()
            signal.pause()
    except KeyboardInterrupt:
        return
    except LocalKafkaError as error:
        sys.exit(f"kafka: {error}")


if __name__ == "__main__":
    main()

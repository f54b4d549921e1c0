"""A process that owns an embedded PostgreSQL, to be killed: starts it, adds rows and tells what was acknowledged.

usage: postgres_owner.py DATA_DIR main|thread|once
"""

import json
import sys
import threading
from pathlib import Path

from deploy.embedded.postgres import EmbeddedPostgres


def main(data_dir: str, way: str) -> None:
    server = EmbeddedPostgres(Path(data_dir))
    if way == "thread":
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join()
    else:
        server.start()
    server.execute("CREATE TABLE IF NOT EXISTS deal (id int)")
    print(json.dumps({"pid": server.pid, "uid": (Path(data_dir) / "postgres").stat().st_uid}), flush=True)
    for number in range(1 if way == "once" else 1_000_000):
        server.execute(f"INSERT INTO deal VALUES ({number})")
        print(number, flush=True)
    server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The health check of a container: exit 0 when /readyz of this container says 200. Standard library only, for speed."""

import http.client
import sys

SECONDS = 4.0


def ready(port: int) -> str | None:
    """Return None when what listens on `port` of this host is ready, otherwise why not (one line)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if answer.status == http.HTTPStatus.OK else f"{answer.status} {body}"


if __name__ == "__main__":
    if reason := ready(int(sys.argv[1])):
        sys.exit(reason)

"""The container's own health check, run as the container runs it, against real sockets."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.deploy.docker.compose_files import BASE, DOCKER, read


@contextmanager
def _service(status: int) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b'{"status": "told"}')

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _checked(port: int) -> tuple[int, str]:
    # The very command of the compose file, with this tree's file and this test's port.
    python, *options, _file, _port = read(BASE)["x-healthy"]["test"][1:]
    assert python == "python"
    command = [sys.executable, *options, str(DOCKER / "healthy.py"), str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_ready_is_healthy() -> None:
    with _service(200) as port:
        assert _checked(port) == (0, "")


@pytest.mark.parametrize("status", [503, 500])
def test_not_ready_is_unhealthy_and_says_why(status: int) -> None:
    with _service(status) as port:
        code, said = _checked(port)
    assert code == 1
    assert str(status) in said
    assert "told" in said


def test_nobody_there_is_unhealthy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        code, said = _checked(taken.getsockname()[1])
    assert code == 1
    assert "ConnectionRefusedError" in said

"""A load generator that costs little: keep-alive HTTP/1.1 over plain asyncio streams, closed loop."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of a closed loop saw: answers per second and latencies in milliseconds."""

    per_second: float
    p50: float
    p99: float
    refused: int


async def closed_loop(port: int, clients: int, seconds: float, request: Callable[[int, int], bytes]) -> Load:
    """Let `clients` send `request(client, number)` one after the other for `seconds`; anything but 2xx is refused."""
    stop = time.perf_counter() + seconds

    def going_on() -> bool:
        return time.perf_counter() < stop

    results = await asyncio.gather(*(one_client(port, number, going_on, request) for number in range(clients)))
    return summary([entry for times, _ in results for entry in times], seconds, sum(bad for _, bad in results))


def summary(times: Sequence[float], seconds: float, refused: int = 0) -> Load:
    """Return rate and nearest-rank percentiles of latencies given in seconds."""
    ordered = sorted(times) or [0.0]
    return Load(
        len(times) / seconds,
        ordered[(len(ordered) - 1) // 2] * 1000,
        ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000,
        refused,
    )


async def one_client(
    port: int, client: int, going_on: Callable[[], bool], request: Callable[[int, int], bytes]
) -> tuple[list[float], int]:
    """Send one request after the other while `going_on`; return latencies in seconds, and how many were refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    refused = number = 0
    while going_on():
        began = time.perf_counter()
        writer.write(request(client, number))
        status, _ = await read_answer(reader)
        number += 1
        if status // 100 == 2:
            times.append(time.perf_counter() - began)
        else:
            refused += 1
    writer.close()
    return times, refused


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of the next answer on a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(head[9:12]), await reader.readexactly(length) if length else b""


def post(path: str, token: str, body: bytes) -> bytes:
    """Return the bytes of a JSON POST."""
    return post_with(path, {"authorization": f"Bearer {token}"}, body)


def post_with(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of a JSON POST with further headers."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\n{more}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, token: str) -> bytes:
    """Return the bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n".encode()

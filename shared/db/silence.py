"""A database host that falls silent (no answer, no reset: power lost, network cut) must not hold anybody for ever.

The driver has no limit of its own for a statement, and the kernel's is a quarter of an hour, or none when only the
answer is missing. With these options the kernel ends the connection after some 15 seconds in which the host said
nothing at all, however long a statement may take: a living host answers the kernel's probes while it works.
"""

import asyncio
import os
import socket

PROBE_AFTER_SECONDS = 6
PROBE_EVERY_SECONDS = 3
PROBES = 3
UNACKNOWLEDGED_MILLISECONDS = 15_000


def end_when_silent(transport: asyncio.BaseTransport) -> None:
    """Set the options on the socket of `transport`; a Unix socket has no silence, and each system what it knows."""
    told = transport.get_extra_info("socket")
    if told is None or told.family == socket.AF_UNIX:
        return
    # The loop's own object may not set options; a duplicate of the descriptor is the same socket.
    with socket.socket(fileno=os.dup(told.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", PROBE_AFTER_SECONDS),
            ("TCP_KEEPINTVL", PROBE_EVERY_SECONDS),
            ("TCP_KEEPCNT", PROBES),
            ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MILLISECONDS),
        ):
            if hasattr(socket, name):
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

"""Processes of a PostgreSQL server: start one that cannot outlive us, end one, find and end one left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from deploy.embedded import postgres_launch
from deploy.embedded.postgres_account import ENVIRONMENT, SHELL, ServerAccount
from deploy.embedded.postgres_errors import ServerError

# Fast shutdown, immediate shutdown, the end: each with the seconds it is given.
EVER_HARDER = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
POLL_SECONDS = 0.02

# Reads from a pipe that only we hold: it ends when we die, however that happens, and whichever thread started it.
WATCHDOG = """
read -r _
kill -INT "$1" 2>/dev/null
left=20
while [ $left -gt 0 ] && kill -0 "$1" 2>/dev/null; do sleep 1; left=$((left - 1)); done
kill -QUIT "$1" 2>/dev/null
"""
# Run as the account: a container's root may not read where another user's process is. A zombie is nowhere.
# The shell, put into the directory, must see itself there: a list that is empty because nothing can be seen would
# end in two servers.
IN_DIRECTORY = (
    "[ /proc/$$/cwd -ef . ] || exit 3; "
    'for p in /proc/[0-9]*; do if [ "$p/cwd" -ef . ] && [ "$p" != /proc/$$ ]; then echo "${p#/proc/}"; fi; done'
    if sys.platform == "linux"
    else 'cd / && lsof -t -a -d cwd -- "$1" || [ $? -eq 1 ]'
)


class ServerProcess:
    """A running postgres, our direct child in a session of its own, with the watchdog that ends it after us."""

    def __init__(self, command: Sequence[str], account: ServerAccount, cwd: Path, log: IO[bytes]) -> None:
        """Start it at once; output goes to `log`.

        The kernel's own signal follows the death of the starting THREAD, so only the main thread asks for it.
        """
        tied = "tied" if threading.current_thread() is threading.main_thread() else "untied"
        user = f"{account.uid}:{account.gid}" if account.switches else ""
        launch = [sys.executable, "-I", "-S", postgres_launch.__file__, str(os.getpid()), tied, user, *command]
        self._server = subprocess.Popen(
            launch, cwd=cwd, env=ENVIRONMENT, umask=0o077, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        self._watchdog = subprocess.Popen(
            [SHELL, "-c", WATCHDOG, "salesgrain-watchdog", str(self._server.pid)],
            cwd="/", env=ENVIRONMENT, start_new_session=True, stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account.identity,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._server.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; reaps it as soon as it has ended."""
        return self._server.poll()

    def end(self) -> None:
        """Fast shutdown, after 20 s an immediate one; then the watchdog goes. Harmless when it has ended."""
        for sign, seconds in EVER_HARDER:
            self._server.send_signal(sign)
            try:
                self._server.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        if self._watchdog.poll() is None:
            os.killpg(self._watchdog.pid, signal.SIGKILL)
        if self._watchdog.stdin:
            self._watchdog.stdin.close()
        self._watchdog.wait()


def processes_in(directory: Path, account: ServerAccount) -> list[int]:
    """The pids of the account's living processes whose working directory this is: a cluster's whole server."""
    found = account.run(SHELL, "-c", IN_DIRECTORY, "sh", directory, cwd=directory)
    if found.returncode != 0:
        raise ServerError(f"cannot see which processes work in {directory}: is /proc mounted? {found.stderr.strip()}")
    return [int(pid) for pid in found.stdout.split()]


def end_left_behind(cluster: Path, account: ServerAccount) -> None:
    """End the server that a dead owner left on this cluster, and clear a `postmaster.pid` that would block a new one.

    Call only as the owner of the data directory's lock. PostgreSQL takes a zombie or a stranger with the same
    pid for a running server, and would refuse for ever.
    """
    postmaster_pid = cluster / "postmaster.pid"
    if not postmaster_pid.exists():
        return
    for sign, seconds in EVER_HARDER:
        if _end_all(cluster, account, sign, seconds):
            postmaster_pid.unlink(missing_ok=True)
            return
    raise ServerError(
        f"processes {processes_in(cluster, account)} of an earlier server in {cluster} do not end: end them"
    )


def _end_all(cluster: Path, account: ServerAccount, sign: signal.Signals, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    signalled: set[int] = set()
    while living := processes_in(cluster, account):
        if time.monotonic() > deadline:
            return False
        postmaster = _postmaster(cluster / "postmaster.pid")
        for pid in [postmaster] if postmaster in living else living:
            if pid not in signalled:
                signalled.add(pid)
                _send(pid, sign)
        time.sleep(POLL_SECONDS)
    return True


def _postmaster(postmaster_pid: Path) -> int | None:
    try:
        return int(postmaster_pid.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _send(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return

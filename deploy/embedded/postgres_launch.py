"""Become PostgreSQL: drop root, ask the kernel to be stopped when the parent dies, then turn into the program.

Run as a script of its own, because `preexec_fn` is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, tied: bool, user: str, command: list[str]) -> None:
    """Args: our parent's pid, whether its end is ours, `uid:gid` or nothing, the program and its arguments."""
    if user:
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if tied and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() == parent:
        os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "tied", sys.argv[3], sys.argv[4:])

"""A Docker engine of our own, as root: started in a private folder, and taken down with all that it set up."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.docker.engine import CommandFailed, Engine, Unavailable, client_with_builds, run, say, until

PACKAGES = ("docker.io", "iptables", "mmdebstrap", "maven", "default-jre-headless")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
BRIDGE = Path("/sys/class/net/docker0")
START_SECONDS = 60.0
STOP_SECONDS = 60.0


def install_engine() -> None:
    """Install what is missing of the engine and of the tools for stand-ins (apt, as root); raises Unavailable."""
    wanted = {"dockerd": "docker.io", "iptables": "iptables", "mmdebstrap": "mmdebstrap", "mvn": "maven",
              "java": "default-jre-headless"}  # fmt: skip
    missing = [package for program, package in wanted.items() if not _program(program)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"{', '.join(missing)} can be installed by root with apt only")
    say(f"  engine: installing {', '.join(missing)}")
    run(["apt-get", "-qq", "update"], seconds=300)
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "install", "-y", "--no-install-recommends"]
    run([*quiet, *missing], seconds=900)


@contextlib.contextmanager
def private_engine(folder: Path, compose: tuple[str, ...]) -> Iterator[Engine]:
    """Run dockerd within `folder` for the block; raises Unavailable when this machine cannot."""
    dockerd, client = _program("dockerd"), client_with_builds()
    if os.geteuid() != 0 or dockerd is None or client is None:
        raise Unavailable("no Docker engine answers; root with docker.io could start one (ARGS=--install installs it)")
    if BRIDGE.exists():
        raise Unavailable("another Docker engine has its bridge docker0 here, but does not answer")
    folder.mkdir(parents=True, exist_ok=True)
    forwarding = FORWARDING.read_text(encoding="utf-8")
    policy, interfaces = _forward_policy(), _interfaces()
    # Without these limits runc fails where the machine's hard limits are low and CAP_SYS_RESOURCE is missing.
    limits = ["--default-ulimit", "nofile=20000:20000", "--default-ulimit", "nproc=4096:4096"]
    places = [
        "--data-root",
        str(folder / "data"),
        "--exec-root",
        str(folder / "exec"),
        "--pidfile",
        str(folder / "pid"),
    ]
    socket = folder / "d.sock"
    with (folder / "dockerd.log").open("ab") as log:
        daemon = subprocess.Popen(
            ["nice", dockerd, *places, "-H", f"unix://{socket}", *limits],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    engine = Engine(client, compose, socket)
    try:
        try:
            until("dockerd", START_SECONDS, engine.docker_command("info"))
        except CommandFailed as error:
            words = (folder / "dockerd.log").read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise Unavailable("\n".join([f"a private engine does not start here: {error}", *words])) from error
        yield engine
    finally:
        _stop(daemon)
        _unmount_below(folder)
        _forget_network(policy, forwarding, _interfaces() - interfaces)


def _program(name: str) -> str | None:
    return shutil.which(name) or next((path for path in (f"/usr/sbin/{name}",) if Path(path).exists()), None)


def _stop(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # Its own session: containerd and what else it started go with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def _unmount_below(folder: Path) -> None:
    for _ in range(20):
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        ours = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{folder}/")]
        if not ours:
            return
        for place in sorted(ours, reverse=True):
            subprocess.run(["umount", place], check=False, capture_output=True)
        time.sleep(0.2)


def _forward_policy() -> str:
    said = run(["iptables", "-S", "FORWARD"], seconds=60)
    return said.split()[2]


def _interfaces() -> set[str]:
    return {path.name for path in BRIDGE.parent.iterdir()}


def _forget_network(policy: str, forwarding: str, new: set[str]) -> None:
    """Remove the bridges and the rules that dockerd leaves behind, and only those."""
    for interface in new:
        if interface == BRIDGE.name or interface.startswith("br-"):
            subprocess.run(["ip", "link", "delete", interface], check=False, capture_output=True)
    for table in ("filter", "nat"):
        there = run(["iptables", "-t", table, "-S"], seconds=60).splitlines()
        for removal in removals(there):
            subprocess.run(["iptables", "-t", table, *removal], check=False, capture_output=True)
    run(["iptables", "-P", "FORWARD", policy], seconds=60)
    FORWARDING.write_text(forwarding, encoding="utf-8")


def removals(there: list[str]) -> list[list[str]]:
    """Return the arguments of iptables that remove what dockerd has added to the rules of one table (iptables -S)."""
    rules = [line.split() for line in there if line.startswith("-A ")]
    chains = [line.split()[1] for line in there if line.startswith("-N DOCKER")]
    added = [rule for rule in rules if rule[1] not in chains and any(part in (*chains, BRIDGE.name) for part in rule)]
    return [
        *(["-D", *rule[1:]] for rule in added),
        *(["-F", chain] for chain in chains),
        *(["-X", chain] for chain in chains),
    ]

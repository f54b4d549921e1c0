"""Finds docker compose, or takes it out of a Debian package into a folder of its own: nothing is installed."""

import shutil
from pathlib import Path

from deploy.docker.engine import CommandFailed, Unavailable, run, say

# Debian 12 has only the old Python one; the package of Debian 13 needs nothing but libc and runs on 12 as well.
RELEASE = "trixie"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def find_compose(folder: Path) -> tuple[str, ...]:
    """Return the command of compose version 2; raises Unavailable. `folder` may receive an unpacked package."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) and _is_version_2(command):
            return command
    try:
        return (_unpacked(folder),)
    except CommandFailed as error:
        raise Unavailable(f"docker compose is not installed and cannot be had from Debian: {error}") from error


def _is_version_2(command: tuple[str, ...]) -> bool:
    try:
        said = run([*command, "version", "--short"], seconds=60)
    except CommandFailed:
        return False
    return int(said.strip().lstrip("v").split(".")[0]) >= 2  # noqa: PLR2004 - the first compose that is a plugin


def _unpacked(folder: Path) -> str:
    program = folder / "compose/usr/libexec/docker/cli-plugins/docker-compose"
    if program.exists():
        return str(program)
    if not shutil.which("apt-get") or not Path(KEYS).exists():
        raise Unavailable("docker compose is not installed")
    apt = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    # The archive that this machine uses already, another release of it, and lists of our own.
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
        "Origin: Debian",
        "Label: Debian",
    ]
    sites = run(asked, seconds=60).split()
    if not sites:
        raise Unavailable("docker compose is not installed, and this machine has no Debian archive to take it from")
    (apt / "sources.list").write_text(f"deb [signed-by={KEYS}] {sites[0]} {RELEASE} main\n", encoding="utf-8")
    private = ["apt-get", "-qq"]
    for name, value in {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "root",
    }.items():
        private += ["-o", f"{name}={value}"]
    say(f"  compose: unpacking Debian's docker-compose of {RELEASE}")
    run([*private, "update"], seconds=300)
    run([*private, "download", "docker-compose"], seconds=300, folder=apt)
    package = next(apt.glob("docker-compose_*.deb"))
    run(["dpkg-deb", "-x", str(package), str(folder / "compose")], seconds=60)
    shutil.rmtree(apt)
    return str(program)

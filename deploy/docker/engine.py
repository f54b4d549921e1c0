"""A Docker engine and compose as programs: how they are called, and where they are found."""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LAST_LINES = 25


class Unavailable(Exception):  # noqa: N818 - the name of the fact
    """A level of the verification cannot be reached here; the message says why."""


class CommandFailed(Exception):  # noqa: N818 - the name of the fact
    """A program that had to succeed did not; the message has its last lines."""


def say(line: str) -> None:
    """Print one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(command: Sequence[str], *, seconds: float, folder: Path | None = None, told: str | None = None) -> str:
    """Run a program at low priority and return what it printed; raises CommandFailed with its last lines."""
    try:
        done = subprocess.run(
            ["nice", *command], capture_output=True, text=True, errors="replace", timeout=seconds, check=False,
            cwd=folder, input=told if told is not None else "",
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)[:200]} did not end within {seconds:.0f} s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-LAST_LINES:]
        raise CommandFailed("\n".join([f"{' '.join(command)[:200]} ended with {done.returncode}:", *said]))
    return done.stdout


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers, and the programs that talk to it. `socket` is None for the one of the environment."""

    client: str
    compose: tuple[str, ...]
    socket: Path | None = None

    def _environment(self) -> list[str]:
        return ["env", "DOCKER_BUILDKIT=1", *([f"DOCKER_HOST=unix://{self.socket}"] if self.socket else [])]

    def docker_command(self, *arguments: str) -> list[str]:
        return [*self._environment(), self.client, *arguments]

    def docker(self, *arguments: str, seconds: float = 120) -> str:
        """Run `docker ...`; raises CommandFailed."""
        return run(self.docker_command(*arguments), seconds=seconds)

    def compose_command(self, *arguments: str) -> list[str]:
        return [*self._environment(), *self.compose, *arguments]

    def has_image(self, name: str) -> bool:
        return bool(self.docker("images", "--quiet", name).strip())


def client_with_builds() -> str | None:
    """Return a docker client that can build: Debian's own has BuildKit in it, others need the plugin buildx."""
    for path in (shutil.which("docker"), "/usr/bin/docker"):
        if path and Path(path).exists() and _succeeds([path, "--version"]):
            old = _said([path, "version", "--format", "{{.Client.Version}}"]).split(".")[0]
            if _succeeds([path, "buildx", "version"]) or (old.isdigit() and int(old) < BUILDX_SINCE):
                return path
    return None


BUILDX_SINCE = 23


def engine_of_the_environment(compose: tuple[str, ...]) -> Engine:
    """Return the engine that `docker` reaches by itself; raises Unavailable."""
    client = client_with_builds()
    if client is None:
        raise Unavailable("there is no docker client that can build")
    if not _succeeds([client, "info"]):
        raise Unavailable("no Docker engine answers (docker info)")
    return Engine(client, compose)


def until(what: str, seconds: float, holds: "Sequence[str]") -> None:
    """Run a program until it succeeds; raises CommandFailed after `seconds`."""
    deadline = time.monotonic() + seconds
    while not _succeeds(holds):
        if time.monotonic() > deadline:
            raise CommandFailed(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.5)


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def _said(command: Sequence[str]) -> str:
    # A client without an engine prints its own version and then fails.
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout

"""One deployment of docker-compose.yml for the verification: a project, secrets, ports and volumes of its own."""

import json
import secrets
import time
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

from deploy.demo.processes import free_port
from deploy.docker.credentials import make_credentials, trial_token
from deploy.docker.engine import CommandFailed, Engine, run, say
from deploy.docker.stand_in_images import OURS, ROOT
from shared.settings import Settings

UP_SECONDS = 420.0
BACK_SECONDS = 180.0
SCRIPT_SECONDS = 300.0
RECEIVER_PORT = 8090
REPLICATED = ("pipeline", "kpi", "goals", "notify")
ASK_RECEIVER = f"import urllib.request as ask; ask.urlopen('http://127.0.0.1:{RECEIVER_PORT}/alerts?behind=999999')"
# Everything but PID 1, which the kernel keeps from signals out of its own container: init then ends with the failure.
KILL_ALL = (
    "import os, signal\n"
    "for name in os.listdir('/proc'):\n"
    "    if name.isdigit() and int(name) not in (1, os.getpid()):\n"
    "        os.kill(int(name), signal.SIGKILL)\n"
)


@dataclass(slots=True)
class Deployment:
    """`up` starts it, `down` removes it with its volumes. Nothing of a real deployment beside it is touched."""

    engine: Engine
    folder: Path
    images: dict[str, str]
    brokers: int = 1
    port: int = field(default_factory=lambda: free_port(None))
    receiver_port: int = field(default_factory=lambda: free_port(None))
    project: str = field(default_factory=lambda: f"salesgrain-verify-{secrets.token_hex(3)}")
    webhook_secret: str = field(default_factory=lambda: f"whsec_{b64encode(secrets.token_bytes(24)).decode()}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def receiver_url(self) -> str:
        """Where this process reads what the receiver got."""
        return f"http://127.0.0.1:{self.receiver_port}"

    @property
    def receiver_within(self) -> str:
        """Where notify delivers to."""
        return f"http://receiver:{RECEIVER_PORT}"

    def token(self, settings: Settings) -> str:
        return trial_token(self.folder / "secrets", "admin", None, settings)

    def prepare(self) -> None:
        """Write secrets, variables and the override that adds the receiver of webhooks."""
        make_credentials(self.folder / "secrets", "development")
        variables = self.images | {
            "SALESGRAIN_IMAGE": OURS,
            "PORT": str(self.port),
            "BIND": "127.0.0.1",
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "ENVIRONMENT": "development",
        }
        lines = [f"{name}={value}\n" for name, value in variables.items()]
        self._variables.write_text("".join(lines), encoding="utf-8")
        # JSON is YAML.
        (self.folder / "verify.yml").write_text(json.dumps(self._override(), indent=2), encoding="utf-8")

    def _override(self) -> dict[str, object]:
        """Return the secrets of this run instead of the deployment's own, and the receiver."""
        names = json.loads(self._compose("config", "--format", "json", files=self._files(), seconds=60))["secrets"]
        command = ["python", "-m", "deploy.demo.receiver", "--host", "0.0.0.0", "--port", str(RECEIVER_PORT)]  # noqa: S104
        receiver = {
            "image": OURS,
            "command": [*command, "--secret", self.webhook_secret],
            "networks": ["edge"],
            "ports": [f"127.0.0.1:{self.receiver_port}:{RECEIVER_PORT}"],
            "read_only": True,
            "tmpfs": ["/tmp"],  # noqa: S108 - within the container
            "healthcheck": {"test": ["CMD", "python", "-c", ASK_RECEIVER], "interval": "2s", "retries": 30},
        }
        files = {name: {"file": str(self.folder / "secrets" / Path(told["file"]).name)} for name, told in names.items()}
        return {"services": {"receiver": receiver}, "secrets": files}

    def _files(self) -> list[str]:
        files = ["--file", str(ROOT / "docker-compose.yml")]
        if self.brokers > 1:
            files += ["--file", str(ROOT / "deploy/docker/compose.kafka3.yml")]
        return [*files, "--project-directory", str(ROOT), "--project-name", self.project]

    def _all_files(self) -> list[str]:
        return [*self._files(), "--file", str(self.folder / "verify.yml"), "--env-file", str(self._variables)]

    @property
    def _variables(self) -> Path:
        return self.folder / "variables.env"

    def _compose(self, *arguments: str, seconds: float, files: list[str] | None = None) -> str:
        return run(self.engine.compose_command(*(files or self._all_files()), *arguments), seconds=seconds)

    def script(self, path: str, *arguments: str) -> str:
        """Run one of the scripts of deploy/ on this deployment; return its last line; raises CommandFailed."""
        compose = " ".join(self.engine.compose_command(*self._all_files()))
        told = ["env", f"COMPOSE={compose}", f"ENV_FILE={self._variables}", str(ROOT / path), *arguments]
        return run(told, seconds=SCRIPT_SECONDS).strip().splitlines()[-1]

    def up(self, *, replicas: int) -> float:
        """Start everything and return after how many seconds every health check held; raises CommandFailed."""
        began = time.monotonic()
        scale = [part for name in REPLICATED for part in ("--scale", f"{name}={replicas}")]
        waiting = ["--wait", "--wait-timeout", str(int(UP_SECONDS))]
        try:
            self._compose("up", "--detach", "--no-build", *waiting, *scale, seconds=UP_SECONDS + 60)
        except CommandFailed as error:
            raise CommandFailed(f"{error}\n{self.state()}") from error
        return time.monotonic() - began

    def state(self) -> str:
        """Return what runs and the last lines of what each part said."""
        running = self._compose("ps", "--all", seconds=60)
        return running + self._compose("logs", "--tail", "12", "--no-color", seconds=60)

    def within(self, service: str, *command: str, seconds: float = 300) -> str:
        """Run a command in a running container of a service; raises CommandFailed."""
        return self._compose("exec", "--no-TTY", service, *command, seconds=seconds)

    def crash(self, service: str, number: int = 1) -> None:
        """Kill the process of one replica with SIGKILL, as the machine's memory or a bug would."""
        before = self._started(service, number)
        command = ("exec", "--no-TTY", "--index", str(number), service, "python", "-c", KILL_ALL)
        self._compose(*command, seconds=60)
        say(f"  {service} {number}: killed with SIGKILL")
        deadline = time.monotonic() + BACK_SECONDS
        while self._started(service, number) in (before, None):
            if time.monotonic() > deadline:
                raise CommandFailed(f"{service} {number} did not come back within {BACK_SECONDS:.0f} s")
            time.sleep(1)

    def crash_container(self, service: str) -> None:
        """Kill a container that has no Python in it (database, broker) from outside, and start it again."""
        self._compose("kill", "--signal", "SIGKILL", service, seconds=60)
        say(f"  {service}: killed with SIGKILL")
        self._compose("up", "--detach", "--no-build", "--no-deps", "--wait", service, seconds=BACK_SECONDS)

    def _started(self, service: str, number: int) -> str | None:
        """Return when this replica was started, once it is healthy; None before."""
        wanted = "{{.State.StartedAt}} {{.State.Health.Status}}"
        name = f"{self.project}-{service}-{number}"
        started, _, health = self.engine.docker("inspect", "--format", wanted, name).strip().partition(" ")
        return started if health == "healthy" else None

    def down(self) -> None:
        """Stop and remove containers, networks and volumes; raises CommandFailed when something stays."""
        command = ("down", "--volumes", "--remove-orphans", "--timeout", "20")
        try:
            self._compose(*command, seconds=300)
        except CommandFailed:
            # An engine may still be letting go of an address when compose asks it to remove the network.
            time.sleep(5)
            self._compose(*command, seconds=300)

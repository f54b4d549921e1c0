"""The compose files as data, the way `docker compose -f` reads and merges them."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
BASE = ROOT / "docker-compose.yml"
DOCKER = ROOT / "deploy/docker"
THREE_BROKERS = DOCKER / "compose.kafka3.yml"

Service = dict[str, Any]


def compose_files() -> list[Path]:
    return [BASE, *sorted(DOCKER.glob("compose.*.yml"))]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def merged(*paths: Path) -> dict[str, Service]:
    """Return the services of several files: mappings are merged, everything else is replaced."""
    services: dict[str, Service] = {}
    for path in paths:
        for name, service in read(path)["services"].items():
            services[name] = _merge(services.get(name, {}), service)
    return services


def _merge(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _merge(below.get(key), value) for key, value in above.items()}
    return above

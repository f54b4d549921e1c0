"""Hatch metadata hook: the direct dependencies of the distribution are the lines of runtime.in and embedded.in."""

from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RuntimeRequirements(MetadataHookInterface):
    def update(self, metadata: dict) -> None:
        folder = Path(self.root) / "requirements"
        lines = [
            line for name in ("runtime.in", "embedded.in") for line in (folder / name).read_text("utf-8").splitlines()
        ]
        metadata["dependencies"] = [line for line in lines if line and not line.startswith(("#", "-"))]

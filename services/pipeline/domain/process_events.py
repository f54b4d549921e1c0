"""How a process is announced."""

from datetime import datetime

from services.pipeline.domain.process import Process
from shared.events.pipeline import ProcessChanged, ProcessStage


def process_changed(process: Process, recorded_at: datetime, state_version: int) -> ProcessChanged:
    """Return the event that tells a process in its newest version."""
    return ProcessChanged(
        version=state_version,
        recorded_at=recorded_at,
        code=process.code,
        process_version=process.version,
        name=process.name,
        stages=tuple(
            ProcessStage(
                code=stage.code,
                name=stage.name,
                kind=stage.kind,
                order=order,
                win_probability=stage.win_probability,
                sla=stage.sla,
                kpis=stage.kpis,
            )
            for order, stage in enumerate(process.stages)
        ),
    )

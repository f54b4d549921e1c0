"""A deal that stayed in its stage beyond the standard."""

from datetime import datetime

import msgspec

from services.pipeline.domain.deal import Deal, DealChange
from services.pipeline.domain.stage_entry import Recording
from shared.events.pipeline import DealSlaBreached


def is_breached(deal: Deal, now: datetime) -> bool:
    """Tell whether an open deal is beyond its SLA and this is not marked yet."""
    return deal.status == "open" and not deal.sla_breached and deal.sla_due_at is not None and deal.sla_due_at <= now


def breach(deal: Deal, level: int, recording: Recording) -> DealChange:
    """Return the deal marked as late; the breach occurred at the moment it was due, whenever it is found."""
    after = msgspec.structs.replace(deal, version=deal.version + 1, sla_breached=True, updated_at=recording.at)
    event = DealSlaBreached(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=deal.sla_due_at,
        deal_id=deal.id,
        deal=after.state,
        before=deal.state,
        actor=recording.actor,
        visit=deal.visit,
        level=level,
    )
    return DealChange(after, (event,))

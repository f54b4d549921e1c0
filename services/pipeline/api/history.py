"""Every version of a deal over HTTP: what, from, to, at, by, why."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field
from starlette.requests import Request

from services.pipeline.api.context import CurrentContext
from services.pipeline.store.deal_list import deal_versions
from services.pipeline.store.deals import find_deal
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.visibility import visible_keys
from shared.events.pipeline import DealChanged, DealCourseCorrected, DealEvent, DealMoved
from shared.web.models import Answer, Page, Rfc3339
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["deals"])
LARGEST_PAGE = 200


class CourseEntryAnswer(Answer):
    """One entry of a corrected course; `at` is null where nobody knows when."""

    stage: str
    at: Rfc3339 | None


class VersionAnswer(Answer):
    """One version of a deal: what happened, from and to which stage, when, by whom and why."""

    version: int
    type: str
    from_stage: Annotated[str | None, Field(serialization_alias="from")]
    to_stage: Annotated[str | None, Field(serialization_alias="to")]
    at: Rfc3339 | None
    recorded_at: Rfc3339
    by: str | None
    why: str | None
    changed: list[str]
    broke: list[str]
    overridden: bool
    course: list[CourseEntryAnswer] | None

    @classmethod
    def of(cls, event: DealEvent, reason: str | None) -> Self:
        # `pipeline.deal.moved.v1` is `moved` here.
        before = event.before.stage.code if event.before else None
        moved = before != event.deal.stage.code
        return cls(
            version=event.version,
            type=event.type.split(".")[2],
            from_stage=before if moved else None,
            to_stage=event.deal.stage.code if moved else None,
            at=event.occurred_at,
            recorded_at=event.recorded_at,
            by=event.actor,
            why=reason or (event.deal.lost_reason if moved else None),
            changed=list(event.changed) if isinstance(event, DealChanged) else [],
            broke=list(event.broke) if isinstance(event, DealMoved) else [],
            overridden=isinstance(event, DealMoved) and event.overridden,
            course=_course(event),
        )


def _course(event: DealEvent) -> list[CourseEntryAnswer] | None:
    if not isinstance(event, DealCourseCorrected):
        return None
    return [CourseEntryAnswer(stage=entry.stage.code, at=entry.at) for entry in event.course]


class HistoryQuery(Pagination):
    """Pages of a history; nearly all fit on one."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE


@router.get("/deals/{deal_id}/history")
async def read_history(
    deal_id: UUID,
    request: Request,
    response: Response,
    query: Annotated[HistoryQuery, Query()],
    context: CurrentContext,
    who: CurrentPrincipal,
) -> Page[VersionAnswer]:
    """Read every version of a deal, from the first."""
    after = read_position(request, query.cursor, query, tuple[int])
    async with context.database.snapshot() as tx:
        if await find_deal(tx, deal_id, await visible_keys(tx, who)) is None:
            raise NotFound("deal")
        found = await deal_versions(tx, deal_id, after[0] if after else 0, query.limit + 1)
    shown = [VersionAnswer.of(event, reason) for event, reason in found[: query.limit]]
    more = (shown[-1].version,) if len(found) > query.limit else None
    return page_response(request, response, shown, more, query)

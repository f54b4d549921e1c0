"""Sales processes over HTTP: publish a version, list, read."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Discriminator, Field, Strict
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from services.pipeline.api.context import CurrentContext
from services.pipeline.domain.process import Process
from services.pipeline.store.processes import Published, find_process, list_processes
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.processes import publish_process
from services.pipeline.use_cases.visibility import actor_of
from shared.events.pipeline import StageKind
from shared.web.conditions import etag, not_modified
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Body, Code, DecimalText, NamesBody, Page, Rfc3339, ShortText, StrictBool, StrictInt
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal, ManagerOrAdmin

router = APIRouter(tags=["processes"])

Number = DecimalText | StrictInt | Annotated[float, Strict()]
DurationText = Annotated[str, Field(max_length=40, examples=["P5D"])]


class TaskTemplateBody(Body):
    """A task that entering the stage creates; mandatory by default where the stage asks for `tasks_done`."""

    code: Code
    name: NamesBody
    mandatory: StrictBool | None = None
    due: DurationText | None = None


class _CriterionBody(Body):
    code: Code | None = None
    message: NamesBody | None = None


class TaskDoneBody(_CriterionBody):
    """A task of the stage is done."""

    kind: Literal["task_done"]
    task: Code


class TasksDoneBody(_CriterionBody):
    """Every mandatory task of the stage is done."""

    kind: Literal["tasks_done"]


class FieldPresentBody(_CriterionBody):
    """A field of the deal (`amount`, `customer_id`, `fields.<name>`, ...) has a value."""

    kind: Literal["field_present"]
    field: ShortText


class FieldAtLeastBody(_CriterionBody):
    """A field of the deal is a number that is not below `value`."""

    kind: Literal["field_at_least"]
    field: ShortText
    value: Number


class FieldEqualsBody(_CriterionBody):
    """A field of the deal has this value."""

    kind: Literal["field_equals"]
    field: ShortText
    value: StrictBool | StrictInt | Annotated[float, Strict()] | ShortText


class EvidenceBody(_CriterionBody):
    """A done task of the stage (any, or `task`) has `field` in its result."""

    kind: Literal["evidence"]
    field: ShortText
    task: Code | None = None


CriterionBody = Annotated[
    TaskDoneBody | TasksDoneBody | FieldPresentBody | FieldAtLeastBody | FieldEqualsBody | EvidenceBody,
    Discriminator("kind"),
]


class StageKpiBody(Body):
    """A KPI that the stage is steered by, and its target."""

    kpi: Code
    target: Number | None = None


class StageBody(Body):
    """A stage with its standard: tasks, gate, SLA and KPIs."""

    code: Code
    name: NamesBody
    kind: StageKind
    win_probability: Number | None = None
    sla: DurationText | None = None
    clock: Literal["business", "calendar"] = "business"
    tasks: Annotated[list[TaskTemplateBody], Field(max_length=50, default_factory=list)]
    exit_criteria: Annotated[list[CriterionBody], Field(max_length=50, default_factory=list)]
    entry_criteria: Annotated[list[CriterionBody], Field(max_length=50, default_factory=list)]
    kpis: Annotated[list[StageKpiBody], Field(max_length=50, default_factory=list)]

    def to_definition(self) -> dict[str, Any]:
        found = self.model_dump(exclude_none=True)
        asked = any(criterion.kind == "tasks_done" for criterion in self.exit_criteria)
        for task in found["tasks"]:
            task.setdefault("mandatory", asked)
        for holder, key in ((found, "win_probability"), *((kpi, "target") for kpi in found["kpis"])):
            if key in holder:
                holder[key] = str(holder[key])
        return found


class ProcessBody(Body):
    """A process: its stages in order, and the moves between them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "field-sales",
                    "name": {"zh": "地推销售", "en": "Field sales"},
                    "stages": [
                        {
                            "code": "visit",
                            "name": {"zh": "拜访", "en": "Visit"},
                            "kind": "open",
                            "win_probability": "0.30",
                            "sla": "P5D",
                            "tasks": [{"code": "call", "name": {"zh": "致电", "en": "Call"}, "due": "P1D"}],
                            "exit_criteria": [
                                {"kind": "tasks_done"},
                                {"kind": "field_present", "field": "amount"},
                            ],
                            "kpis": [{"kpi": "stage_conversion", "target": "0.50"}],
                        },
                        {"code": "won", "name": {"zh": "成交", "en": "Won"}, "kind": "won"},
                        {"code": "lost", "name": {"zh": "输单", "en": "Lost"}, "kind": "lost"},
                    ],
                    "moves": "forward",
                }
            ]
        }
    )

    code: Code
    name: NamesBody
    stages: Annotated[list[StageBody], Field(min_length=1, max_length=50)]
    moves: Literal["forward", "any"] | Annotated[list[tuple[Code, Code]], Field(max_length=2500)] = "forward"

    def to_definition(self) -> Process:
        whole = self.model_dump(exclude={"stages"}) | {"stages": [stage.to_definition() for stage in self.stages]}
        return msgspec.convert(whole, Process)


class ProcessAnswer(ProcessBody):
    """A version of a process."""

    # The example of the body has no version.
    model_config = ConfigDict(json_schema_extra={})

    version: int
    created_at: Rfc3339


@router.post(
    "/processes",
    status_code=201,
    response_model=ProcessAnswer,
    responses={200: {"model": ProcessAnswer, "description": "The newest version is this one."}},
)
async def post_process(body: ProcessBody, context: CurrentContext, who: ManagerOrAdmin, once: Idempotent) -> Response:
    """Publish a process, or the next version of one; what equals the newest version is answered with it and 200.

    Deals keep the version they were made under.
    """

    async def work(tx: AsyncConnection) -> Reply:
        published, is_new = await publish_process(tx, body.to_definition(), actor_of(who), context.clock())
        version = published.process.version
        headers = {"location": f"/pipeline/v1/processes/{body.code}?version={version}", "etag": etag(version)}
        return Reply(201 if is_new else 200, _answer(published), headers)

    return await once.run(context.database, work)


@router.get("/processes")
async def read_processes(
    request: Request,
    response: Response,
    query: Annotated[Pagination, Query()],
    context: CurrentContext,
    _who: CurrentPrincipal,
) -> Page[ProcessAnswer]:
    """List the newest version of every process."""
    after = read_position(request, query.cursor, query, tuple[str])
    async with context.database.snapshot() as tx:
        found = await list_processes(tx, after[0] if after else "", query.limit + 1)
    more = (found[query.limit - 1].process.code,) if len(found) > query.limit else None
    return page_response(request, response, [_answer(each) for each in found[: query.limit]], more, query)


class VersionQuery(Body):
    """Which version; the newest by default."""

    version: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None


@router.get("/processes/{code}", response_model=ProcessAnswer)
async def read_process(
    code: str,
    query: Annotated[VersionQuery, Query()],
    request: Request,
    response: Response,
    context: CurrentContext,
    _who: CurrentPrincipal,
) -> ProcessAnswer | Response:
    """Read one version of a process."""
    async with context.database.snapshot() as tx:
        found = await find_process(tx, code, query.version)
    if found is None:
        raise NotFound("process")
    response.headers["etag"] = etag(found.process.version)
    return not_modified(request, found.process.version) or _answer(found)


def _answer(published: Published) -> ProcessAnswer:
    return ProcessAnswer.model_validate(msgspec.to_builtins(published.process) | {"created_at": published.created_at})

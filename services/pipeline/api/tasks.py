"""Tasks over HTTP: list, add, read, do and change."""

from datetime import datetime
from typing import Annotated, Any, Self, cast
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from services.pipeline.api.context import CurrentContext
from services.pipeline.api.deal_models import FreeFields, OwnerAnswer, OwnerBody, owner_answer
from services.pipeline.domain.deal import TaskStatus
from services.pipeline.domain.task import TaskFields
from services.pipeline.store.deals import OwnerKeys
from services.pipeline.store.owners import Owner, describe_owners
from services.pipeline.store.tasks import OwnedTask, TaskFilter, find_task, list_tasks, position_of
from services.pipeline.use_cases.deals import key_of_owner, lock_visible_deal
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.tasks import alter_task, create_task, lock_visible_task
from services.pipeline.use_cases.visibility import visible_keys
from shared.auth.directory import owner_keys
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, NamesBody, Page, Rfc3339, ShortText, StrictBool
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["tasks"])


class TaskBody(Body):
    """A task that is added by hand to a deal's present stage; without an owner it follows the deal's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "deal_id": "01932c5e-1d2a-7c3b-8f00-0a1b2c3d4e5f",
                    "title": "Send the reference list",
                    "due_at": "2026-11-27T09:00:00Z",
                }
            ]
        }
    )

    deal_id: UUID
    title: ShortText
    due_at: Rfc3339 | None = None
    owner: OwnerBody | None = None
    mandatory: StrictBool = False


class TaskPatch(Body):
    """Changes of a task: absent fields stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "done", "result": {"outcome": "success"}}]})

    status: TaskStatus = "open"
    title: ShortText = ""
    result: FreeFields | None = None
    due_at: Rfc3339 | None = None
    owner: OwnerBody | None = None


class TaskAnswer(Answer):
    """A task; `code` and both names come from the process, `title` from who added it by hand."""

    id: UUID
    deal_id: UUID
    stage: str
    visit: int
    code: str | None
    name: NamesBody
    title: str | None
    mandatory: bool
    status: TaskStatus
    owner: OwnerAnswer | None
    due_at: Rfc3339 | None
    done_at: Rfc3339 | None
    result: dict[str, Any] | None
    created_at: Rfc3339
    updated_at: Rfc3339
    version: int

    @classmethod
    def of(cls, owned: OwnedTask, owner: Owner | None) -> Self:
        task = owned.task
        title = task.title or ""
        name = (task.name.zh, task.name.en) if task.name else (title, title)
        return cls(
            id=task.id,
            deal_id=task.deal_id,
            stage=task.stage,
            visit=task.visit,
            code=task.code,
            name=NamesBody.model_construct(zh=name[0], en=name[1]),
            title=task.title,
            mandatory=task.mandatory,
            status=task.status,
            owner=owner_answer(owner),
            due_at=task.due_at,
            done_at=task.done_at,
            result=task.result,
            created_at=task.created_at,
            updated_at=task.updated_at,
            version=task.version,
        )


class TaskQuery(Pagination):
    """Filters of the list of tasks."""

    deal_id: UUID | None = None
    owner_id: Annotated[str | None, Field(max_length=200, description="A person's id or external id.")] = None
    status: TaskStatus | None = None
    due_before: Rfc3339 | None = None


@router.get("/tasks")
async def read_tasks(
    request: Request,
    response: Response,
    query: Annotated[TaskQuery, Query()],
    context: CurrentContext,
    who: CurrentPrincipal,
) -> Page[TaskAnswer]:
    """List tasks of the caller's deals and tasks given to the caller, those due first first."""
    after = read_position(request, query.cursor, query, tuple[datetime, UUID])
    async with context.database.snapshot() as tx:
        person = None if query.owner_id is None else await owner_keys(tx, query.owner_id)
        where = TaskFilter(query.deal_id, person, query.status, query.due_before)
        found = await list_tasks(tx, await visible_keys(tx, who), where, query.limit + 1, after)
        shown = found[: query.limit]
        answers = await _answers(tx, *shown)
    more = position_of(shown[-1].task) if len(found) > query.limit else None
    return page_response(request, response, answers, more, query)


@router.post("/tasks", status_code=201, response_model=TaskAnswer)
async def post_task(body: TaskBody, context: CurrentContext, who: CurrentPrincipal, once: Idempotent) -> Response:
    """Add a task to a deal."""

    async def work(tx: AsyncConnection) -> Reply:
        deal = await lock_visible_deal(tx, who, body.deal_id)
        told = await _told(tx, body, await visible_keys(tx, who))
        task = await create_task(context, tx, who, deal, told)
        (answer,) = await _answers(tx, OwnedTask(task, task.owner or deal.owner))
        return Reply(201, answer, {"location": f"/pipeline/v1/tasks/{task.id}", "etag": etag(task.version)})

    return await once.run(context.database, work)


@router.get("/tasks/{task_id}", response_model=TaskAnswer)
async def read_task(
    task_id: UUID, request: Request, response: Response, context: CurrentContext, who: CurrentPrincipal
) -> TaskAnswer | Response:
    """Read one task."""
    async with context.database.snapshot() as tx:
        found = await find_task(tx, task_id, await visible_keys(tx, who))
        if found is None:
            raise NotFound("task")
        (answer,) = await _answers(tx, found)
    response.headers["etag"] = etag(answer.version)
    return not_modified(request, answer.version) or answer


@router.patch("/tasks/{task_id}")
async def patch_task(
    task_id: UUID,
    body: TaskPatch,
    response: Response,
    context: CurrentContext,
    who: CurrentPrincipal,
    if_match: IfMatch = None,
) -> TaskAnswer:
    """Do, reopen, cancel or change a task; it raises the version of its deal. Done twice is done once."""
    async with context.database.transaction() as tx:
        locked = await lock_visible_task(tx, who, task_id)
        require_match(if_match, locked.task.version)
        told = await _told(tx, body, await visible_keys(tx, who))
        task = await alter_task(context, tx, who, locked, told)
        (answer,) = await _answers(tx, OwnedTask(task, task.owner or locked.deal.owner))
    response.headers["etag"] = etag(task.version)
    return answer


async def _answers(tx: AsyncConnection, *tasks: OwnedTask) -> list[TaskAnswer]:
    owners = await describe_owners(tx, {owned.owner for owned in tasks})
    return [TaskAnswer.of(owned, owners.get(owned.owner or "")) for owned in tasks]


async def _told(tx: AsyncConnection, body: TaskBody | TaskPatch, keys: OwnerKeys) -> TaskFields:
    """Return what a body tells: only the fields that were sent. Raises OutOfScope."""
    told: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set - {"deal_id", "owner"}}
    if "owner" in body.model_fields_set:
        told["owner"] = await key_of_owner(tx, body.owner.to_name() if body.owner else None, keys)
    return cast("TaskFields", told)

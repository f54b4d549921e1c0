"""One object or a list in one POST: a list is answered 200 with the fate of each item, and good items stay in."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

import msgspec
from pydantic import ValidationError
from starlette.requests import Request

from services.goals.api.refusals import problem_of
from services.goals.domain.refusal import AlreadyExists, Refusal
from shared.web.idempotency import Reply
from shared.web.models import Answer, Body
from shared.web.problems import Problem, invalid, problem_response
from shared.web.validation import field_errors

B = TypeVar("B", bound=Body)


class Made(Protocol):
    """What an item became."""

    @property
    def id(self) -> UUID: ...


LARGEST_BATCH = 1000


class ItemAnswer(Answer):
    """The fate of one item: `id` is what was made, or what has its external id already; `problem` says why not."""

    index: int
    status: int
    id: UUID | None = None
    problem: dict[str, Any] | None = None


class BatchAnswer(Answer):
    """The fates of all items, in their order."""

    items: list[ItemAnswer]


def one_or_many(body: object) -> str:
    """Tell which of the two a body is, before it is validated."""
    return "many" if isinstance(body, list) else "one"


async def add_all(
    request: Request,
    model: type[B],
    items: Sequence[object],
    add: Callable[[Sequence[B]], Awaitable[Sequence[Made | Refusal]]],
) -> Reply:
    """Read each item as `model`, let `add` have those that can be read, and answer with the fate of every item."""
    read = [_read(model, item) for item in items]
    fates = iter(await add([each for each in read if isinstance(each, model)]))
    told = [next(fates) if isinstance(each, model) else each for each in read]
    return Reply(200, BatchAnswer(items=[_fate(request, index, each) for index, each in enumerate(told)]))


def _read(model: type[B], item: object) -> B | Problem:
    try:
        return model.model_validate(item)
    except ValidationError as error:
        entries = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors()]
        return invalid(field_errors(entries, item))


def _fate(request: Request, index: int, fate: object) -> ItemAnswer:
    if not isinstance(fate, Problem | Refusal):
        return ItemAnswer(index=index, status=201, id=cast("Made", fate).id)
    problem = problem_of(fate) if isinstance(fate, Refusal) else fate
    existing = fate.existing if isinstance(fate, AlreadyExists) else None
    told = msgspec.json.decode(problem_response(request, problem).body, type=dict[str, Any])
    return ItemAnswer(index=index, status=problem.status, id=existing, problem=told)

"""Moves over HTTP: the hot route, and what a board shows of the moves that are possible."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Response
from pydantic import ConfigDict, StringConstraints
from starlette.requests import Request

from services.pipeline.api.context import ApiContext, CurrentContext
from services.pipeline.api.deal_models import DealAnswer, LostReason, deal_document
from services.pipeline.api.problems import unmet_criteria
from services.pipeline.domain.move import Move
from services.pipeline.use_cases.errors import Fault, Invalid, NotFound
from services.pipeline.use_cases.moves import EncodedReply, MoveCommand, MoveOutcome, Replay, move_options
from services.pipeline.use_cases.visibility import actor_of
from shared.clock import as_utc
from shared.events.base import Names
from shared.ids import new_id
from shared.language import negotiate
from shared.tracing import current_cause
from shared.web.conditions import etag
from shared.web.fast import fast_post, read_body
from shared.web.idempotency import key_of, replayed, response_of
from shared.web.models import Answer, Body, Code, Rfc3339
from shared.web.principal import CurrentPrincipal, authenticate
from shared.web.problems import forbidden

router = APIRouter(tags=["moves"])

LARGEST_LEAD = timedelta(minutes=5)
_Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class OverrideBody(Body):
    """Why a manager lets a deal pass a gate that is not met."""

    reason: _Reason


class MoveBody(Body):
    """A wanted move. `occurred_at` is when it happened, now by default; a lost deal needs a `lost_reason`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"to_stage": "demo"},
                {"to_stage": "lost", "lost_reason": "price"},
                {"to_stage": "quote", "override": {"reason": "Agreed with the board"}},
            ]
        }
    )

    to_stage: Code
    reason: _Reason | None = None
    lost_reason: LostReason | None = None
    occurred_at: Rfc3339 | None = None
    override: OverrideBody | None = None


_FastReason = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class _FastOverride(msgspec.Struct, forbid_unknown_fields=True):
    reason: _FastReason


class FastMoveBody(msgspec.Struct, forbid_unknown_fields=True):
    """MoveBody once more, for the decoder of the hot route; a test keeps the two equal."""

    to_stage: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    reason: _FastReason | None = None
    lost_reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")] | None = None
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    override: _FastOverride | None = None

    def __post_init__(self) -> None:
        if self.occurred_at is not None:
            try:
                self.occurred_at = as_utc(self.occurred_at)
            except OverflowError:
                # The decoder turns a ValueError into a bad body, of which MoveBody tells the field.
                message = "beyond the calendar"
                raise ValueError(message) from None


class RecordedMoveAnswer(Answer):
    """A move as it was recorded; `broke` names the criteria that an override or a fact did not meet."""

    id: UUID
    from_stage: str
    to_stage: str
    occurred_at: Rfc3339 | None
    recorded_at: Rfc3339
    version: int
    by: str | None
    reason: str | None
    broke: list[str]
    overridden: bool


class MoveAnswer(Answer):
    """The move, the deal after it, and the token with which kpi tells whether it is counted."""

    move: RecordedMoveAnswer
    deal: DealAnswer
    consistency_token: str


_decoder = msgspec.json.Decoder(FastMoveBody)
_encoder = msgspec.json.Encoder()


async def post_move(request: Request) -> Response:
    """Move a deal to another stage of its process.

    Refused with 409 `gate_unmet` and every unmet criterion, or 409 `move_not_allowed`; nothing changes then. A manager
    may `override` with a reason. `If-Match` is optional. Reopening a won or lost deal is a move, too.
    """
    who = await authenticate(request)
    deal_id = _deal_id(request)
    body = await read_body(request, _decoder, MoveBody)
    if body.override is not None and who.role == "rep":
        raise forbidden()
    context: ApiContext = request.app.state.context
    command = MoveCommand(
        deal_id,
        _move(body, context.clock()),
        who,
        actor_of(who),
        current_cause(),
        request.headers.get("if-match"),
        await key_of(request),
        _reply,
    )
    result = await context.moves.submit(deal_id, command)
    return replayed(*result) if isinstance(result, Replay) else response_of(*_reply(result))


fast_post(router, "/deals/{deal_id}/moves", post_move, body=MoveBody, answer=MoveAnswer)


def _deal_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["deal_id"])
    except ValueError:
        raise NotFound("deal") from None


def _move(body: FastMoveBody, now: datetime) -> Move:
    """Return the wanted move; raises Invalid when it lies in the future by more than five minutes."""
    occurred_at = body.occurred_at or now
    if occurred_at > now + LARGEST_LEAD:
        raise Invalid(Fault("/occurred_at", "in_the_future", Names("不能晚于现在", "cannot be later than now")))
    override = body.override.reason if body.override else None
    return Move(new_id(), body.to_stage, occurred_at, body.reason, body.lost_reason, override)


def _reply(outcome: MoveOutcome) -> EncodedReply:
    event, deal = outcome.moved.event, outcome.moved.change.deal
    answer = {
        "move": {
            "id": event.move_id,
            "from_stage": outcome.from_stage,
            "to_stage": deal.stage.code,
            "occurred_at": event.occurred_at,
            "recorded_at": event.recorded_at,
            "version": event.version,
            "by": event.actor,
            "reason": outcome.move.override or outcome.move.reason,
            "broke": event.broke,
            "overridden": event.overridden,
        },
        "deal": deal_document(deal, outcome.process, outcome.owner),
        "consistency_token": f"{event.stream}@{event.version}",
    }
    return 201, {"etag": etag(deal.version)}, _encoder.encode(answer)


class UnmetAnswer(Answer):
    """A criterion that is not met, in the caller's language, and where in the deal."""

    criterion: str
    message: str
    pointer: str


class OptionAnswer(Answer):
    """A stage of the process, and what keeps the deal from moving there; `requires` names what the move must tell."""

    to_stage: str
    allowed: bool
    unmet: list[UnmetAnswer]
    requires: list[str]


class OptionsAnswer(Answer):
    """Every stage of the deal's process."""

    items: list[OptionAnswer]


@router.get("/deals/{deal_id}/moves/options")
async def read_move_options(
    deal_id: UUID, request: Request, response: Response, context: CurrentContext, who: CurrentPrincipal
) -> OptionsAnswer:
    """Tell for every stage whether the deal may move there now, and all that is missing: what a board needs."""
    deal, options = await move_options(context, who, deal_id)
    language = negotiate(request.headers.get("accept-language"))
    response.headers.update({"etag": etag(deal.version), "content-language": language, "vary": "Accept-Language"})
    items = [
        OptionAnswer(
            to_stage=option.to_stage,
            allowed=option.allowed,
            unmet=[UnmetAnswer(**unmet) for unmet in unmet_criteria(option.unmet, language)],
            requires=["lost_reason"] if option.needs_lost_reason else [],
        )
        for option in options
    ]
    return OptionsAnswer(items=items)

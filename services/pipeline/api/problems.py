"""What each refusal of a use case means over HTTP."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.pipeline.domain.criteria import Unmet
from services.pipeline.use_cases.errors import (
    ExternalIdTaken,
    Invalid,
    MoveRefused,
    NotFound,
    OutOfScope,
    Refusal,
    Stale,
)
from services.pipeline.use_cases.processes import ProcessInvalid
from shared.events.base import Names
from shared.language import Language, Text, negotiate, pick
from shared.web.conditions import etag
from shared.web.problems import FieldError, Problem, conflict, forbidden, invalid, not_found, problem_response

_OUT_OF_SCOPE: Text = {
    "zh": "只能把商机、任务或客户交给您可见范围内的负责人。",
    "en": "You may give deals, tasks and customers only to owners within your own scope.",
}
_TAKEN: Text = {
    "zh": "该来源的这个 external_id 已被使用。",
    "en": "This external_id of this source is taken.",
}
_MOVES: Mapping[str, Text] = {
    "gate_unmet": {"zh": "阶段标准尚未满足，详见 unmet。", "en": "The gate is not met; see unmet."},
    "move_not_allowed": {"zh": "流程不允许这样移动，详见 unmet。", "en": "The process knows no such move; see unmet."},
    "already_in_stage": {"zh": "商机已在此阶段。", "en": "The deal is in this stage already."},
}
_UNKNOWN_STAGE: Text = {"zh": "流程中没有这个阶段", "en": "the deal's process has no such stage"}
_LOST_REASON: Text = {"zh": "输单需要 lost_reason", "en": "a lost deal needs a lost_reason"}


def text_of(names: Names) -> Text:
    """Return a text of the domain as the web knows it."""
    return {"zh": names.zh, "en": names.en}


def unmet_criteria(unmet: Iterable[Unmet], language: Language) -> list[dict[str, str]]:
    """Return unmet criteria as clients read them, in their language."""
    return [
        {"criterion": each.criterion, "message": pick(text_of(each.message), language), "pointer": each.pointer}
        for each in unmet
    ]


def problem_of(refusal: Refusal, language: Language) -> Problem:
    """Return the problem that a refusal is."""
    return _PROBLEMS[type(refusal)](refusal, language)


async def answer_refusal(request: Request, refusal: Exception) -> Response:
    """Answer a refusal that a route let through."""
    if not isinstance(refusal, Refusal):
        raise refusal
    language = negotiate(request.headers.get("accept-language"))
    return problem_response(request, problem_of(refusal, language))


def _not_found(refusal: NotFound, _language: Language) -> Problem:
    return not_found(refusal.kind)


def _stale(refusal: Stale, _language: Language) -> Problem:
    return Problem(412, "precondition_failed", headers={"etag": etag(refusal.version)})


def _invalid(refusal: Invalid | ProcessInvalid, _language: Language) -> Problem:
    return invalid([FieldError(fault.pointer, fault.code, text_of(fault.message)) for fault in refusal.faults])


def _move(refusal: MoveRefused, language: Language) -> Problem:
    refused = refusal.refused
    if refused.code == "unknown_stage":
        return invalid([FieldError("/to_stage", "unknown_stage", _UNKNOWN_STAGE)])
    if refused.code == "lost_reason_required":
        return invalid([FieldError("/lost_reason", "required", _LOST_REASON)])
    return conflict(refused.code, _MOVES[refused.code], unmet=unmet_criteria(refused.unmet, language))


_PROBLEMS: Mapping[type[Refusal], Callable[[Any, Language], Problem]] = {
    NotFound: _not_found,
    Stale: _stale,
    Invalid: _invalid,
    ProcessInvalid: _invalid,
    MoveRefused: _move,
    OutOfScope: lambda _refusal, _language: forbidden("out_of_scope", _OUT_OF_SCOPE),
    ExternalIdTaken: lambda _refusal, _language: conflict("external_id_taken", _TAKEN),
}

"""What each refusal of a use case means over HTTP."""

from starlette.requests import Request
from starlette.responses import Response

from services.notify.domain.refusal import Refusal, StillInUse
from shared.language import Text
from shared.web.problems import FieldError, Problem, conflict, invalid, problem_response

_IN_USE: Text = {
    "zh": "仍有规则使用这个渠道，请先修改这些规则。",
    "en": "Rules still send to this channel; change them first.",
}


async def answer_refusal(request: Request, refusal: Exception) -> Response:
    """Answer a refusal that a route let through."""
    return problem_response(request, _problem(refusal))


def _problem(refusal: Exception) -> Problem:
    if isinstance(refusal, Refusal):
        return invalid([FieldError(fault.pointer, fault.code, fault.detail) for fault in refusal.faults])
    if isinstance(refusal, StillInUse):
        return conflict("channel_in_use", _IN_USE, rules=list(refusal.rule_ids))
    raise refusal

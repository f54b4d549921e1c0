"""Each refusal of the domain as its problem over HTTP."""

from starlette.requests import Request
from starlette.responses import Response

from services.goals.domain.refusal import AlreadyExists, Impossible, Invalid, Missing, Refusal, Unavailable
from shared.language import Text
from shared.logging import get_logger
from shared.web.problems import FieldError, Problem, conflict, invalid, not_found, problem_response

log = get_logger(__name__)

_EXISTS: Text = {"zh": "该 external_id 已存在，见 id", "en": "this external_id exists already, under `id`"}
_UNAVAILABLE: Text = {
    "zh": "暂时无法读取指标服务，请稍后重试",
    "en": "the KPI service cannot be read at the moment; try again",
}


def problem_of(refusal: Refusal) -> Problem:
    """Return the problem that tells `refusal`."""
    match refusal:
        case Invalid(faults=faults):
            return invalid([FieldError(fault.pointer, fault.code, fault.detail) for fault in faults])
        case AlreadyExists(kind=kind, existing=existing):
            return conflict("already_exists", _EXISTS, kind=kind, id=str(existing))
        case Missing(kind=kind):
            return not_found(kind)
        case Impossible(code=code, detail=detail, members=members):
            return Problem(422, code, detail, errors=(), headers=None, **members)
        case Unavailable():
            return Problem(503, "kpi_unavailable", _UNAVAILABLE, headers={"retry-after": "2"})
    raise refusal


async def refused(request: Request, error: Exception) -> Response:
    """Answer a refusal that a use case raised; the handler the service registers for all of them."""
    if not isinstance(error, Refusal):
        raise error
    if isinstance(error, Unavailable):
        log.warning("kpi_unavailable", error=str(error))
    return problem_response(request, problem_of(error))

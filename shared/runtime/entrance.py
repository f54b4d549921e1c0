"""The door of a process that runs alone: open before the service behind it is there, and until it ends."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.metrics import EXPOSITION_TYPE, exposition
from shared.web.health import Readiness
from shared.web.problems import Problem, problem_response

RETRY_AFTER_SECONDS = 2


class Entrance:
    """Answers /livez, /readyz and /metrics itself, and 503 to the rest, until `open` gives it the service."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._app: ASGIApp | None = None

    def open(self, app: ASGIApp, readiness: Readiness) -> None:
        """From now on `app` answers; `readiness` is its own."""
        readiness.draining = self._readiness.draining
        self._app, self._readiness = app, readiness

    def drain(self) -> None:
        """Tell balancers (503 from /readyz) and clients (`Connection: close`) to go elsewhere from now on."""
        self._readiness.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        app = self._app or self._answer_closed
        await app(scope, receive, _closing(send) if self._readiness.draining else send)

    async def _answer_closed(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._closed(request)
        await response(scope, receive, send)

    async def _closed(self, request: Request) -> Response:
        match request.url.path:
            case "/livez":
                return JSONResponse({"status": "ok"})
            case "/readyz":
                return await self._readiness.answer()
            case "/metrics":
                return Response(exposition(), media_type=EXPOSITION_TYPE)
        return problem_response(request, Problem(503, "starting", headers={"retry-after": str(RETRY_AFTER_SECONDS)}))


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return closing

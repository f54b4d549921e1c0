"""The reverse proxy: the first path segment chooses the service, a ready replica of it answers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from time import perf_counter

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from deploy.gateway.headers import answered, content_length, forwarded, has
from deploy.gateway.replicas import Replica, Replicas
from deploy.gateway.root import Root, first_segment, nobody_there
from shared.http_client import HttpFailure, NotSent, RawAnswer, RawClient
from shared.logging import get_logger, log_access
from shared.metrics import GATEWAY_RETRIES
from shared.tracing import caused_by
from shared.web.middleware import METHODS, cause_of, duration_of
from shared.web.problems import Problem, problem_response

log = get_logger(__name__)

# A body up to this size is read first, so that it can be sent again; a larger one passes through piece by piece.
LARGEST_KEPT = 256 * 1024
# Doing these twice is doing them once.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class ClientGone(Exception):  # noqa: N818 - the name of the fact
    """The client went away before its request was whole."""


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request: all of it (`whole`), or `None` and it is still to come."""

    receive: Receive
    whole: bytes | None

    @classmethod
    async def of(cls, scope: Scope, receive: Receive) -> "Body":
        length = content_length(scope["headers"])
        if length is None and not has(scope["headers"], b"transfer-encoding"):
            return cls(receive, b"")
        if length is not None and length <= LARGEST_KEPT:
            return cls(receive, b"".join([piece async for piece in _pieces(receive)]))
        return cls(receive, None)

    def sent(self) -> bytes | AsyncIterator[bytes]:
        """Return what goes out; a body that is still to come can go out once."""
        return _pieces(self.receive) if self.whole is None else self.whole


class Proxy:
    """An ASGI application; `root` answers what belongs to no service."""

    def __init__(self, replicas: Mapping[str, Replicas], client: RawClient, root: Root) -> None:
        self._replicas = replicas
        self._client = client
        self._root = root
        self._ending = asyncio.Event()

    def drain(self) -> None:
        """Say that new requests should go elsewhere; those that come are still answered."""
        self._root.draining = True

    def end(self) -> None:
        """End open streams properly: their clients come again, to another gateway."""
        self._ending.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        replicas = self._replicas.get(first_segment(scope["path"]))
        if replicas is None:
            await self._root(scope, receive, send)
            return
        started = perf_counter()
        status = 0
        try:
            answer = await self._ask(replicas, scope, await Body.of(scope, receive))
            status = answer.status
            await self._pass_on(answer, receive, send)
        except ClientGone:
            return
        except Problem as problem:
            status = problem.status
            await _refuse(problem, scope, receive, send)
        finally:
            _account(scope, replicas.service, status, perf_counter() - started)

    async def _ask(self, replicas: Replicas, scope: Scope, body: Body) -> RawAnswer:
        """Return the first answer; raises Problem when there is none, or ClientGone."""
        may_repeat = body.whole is not None and (
            scope["method"] in IDEMPOTENT or has(scope["headers"], b"idempotency-key")
        )
        for replica in replicas.in_turn():
            try:
                return await self._send(replica, scope, body)
            except NotSent:
                replica.ready = False
            except HttpFailure as failure:
                log.warning("no_answer", service=replicas.service, address=replica.url, error=str(failure))
                if not may_repeat:
                    raise Problem(502, "outcome_unknown") from failure
                replica.ready, may_repeat = False, False
            GATEWAY_RETRIES.labels(replicas.service).inc()
        raise nobody_there()

    async def _send(self, replica: Replica, scope: Scope, body: Body) -> RawAnswer:
        target = scope.get("raw_path") or scope["path"].encode()
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        return await self._client.send(scope["method"], replica.url, target, forwarded(scope), body.sent())

    async def _pass_on(self, answer: RawAnswer, receive: Receive, send: Send) -> None:
        headers = answered(answer.headers)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        try:
            if content_length(headers) is None:
                await self._pass_stream_on(answer, receive, send)
            else:
                await _pass_pieces_on(answer, send)
        finally:
            await answer.close()

    async def _pass_stream_on(self, answer: RawAnswer, receive: Receive, send: Send) -> None:
        """Pass on what may last for hours: until it ends, the client goes or we do."""
        passing = asyncio.create_task(_pass_pieces_on(answer, send))
        gone, ending = asyncio.create_task(_until_gone(receive)), asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({passing, gone, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (passing, gone, ending):
                task.cancel()
            await asyncio.wait({passing, gone, ending})
        if ending.done() and passing.cancelled():
            await send({"type": "http.response.body", "body": b""})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    with caused_by(cause_of(scope)) as cause:
        problem.headers["x-request-id"] = cause.correlation_id
        await problem_response(Request(scope), problem)(scope, receive, send)


def _account(scope: Scope, service: str, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in METHODS else "other"
    duration_of("gateway", method, f"/{service}", status).observe(seconds)
    log_access(
        {
            "service": "gateway",
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
        }
    )


async def _pass_pieces_on(answer: RawAnswer, send: Send) -> None:
    try:
        async for piece in answer.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except HttpFailure as failure:
        # An answer that broke off must not look whole: without its end the server cuts the connection.
        log.warning("answer_broke_off", error=str(failure))
        return
    await send({"type": "http.response.body", "body": b""})


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

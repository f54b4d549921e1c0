"""Outgoing HTTP: the only file that imports httpx, and httpcore beneath it."""

import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

TIMEOUT_SECONDS = 10.0
KEPT_SECONDS = 20.0

RawHeaders = Sequence[tuple[bytes, bytes]]


class HttpFailure(Exception):  # noqa: N818 - the name of the fact
    """No answer came: connection refused, reset, timed out, or a name that does not resolve."""


class NotSent(HttpFailure):
    """No connection could be made: nothing of the request has left us, so it was not done."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that came, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own numbers


class HttpClient:
    """A pooled client; with `app` it calls that ASGI application in process instead of the network."""

    def __init__(self, *, base_url: str = "", app: Any = None, headers: Mapping[str, str] | None = None) -> None:
        transport = httpx.ASGITransport(app) if app is not None else httpx.AsyncHTTPTransport(retries=0)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            transport=transport,
            headers=dict(headers or {}),
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        extensions: Mapping[str, Any] | None = None,
        read_body: bool = True,
    ) -> Answer:
        """Send one request, never following redirects; raises HttpFailure when no answer comes within 10 s.

        Without `read_body` the answer's body is left where it is, whatever its size.
        """
        try:
            request = self._client.build_request(
                method, url, headers=headers, params=params, content=body, extensions=dict(extensions or {})
            )
            response = await self._client.send(request, stream=not read_body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HttpFailure(str(error) or type(error).__name__) from error
        if not read_body:
            await response.aclose()
        return Answer(response.status_code, response.headers, response.content if read_body else b"")

    async def close(self) -> None:
        await self._client.aclose()


class RawAnswer:
    """The head of a response as it came; its body comes piece by piece, and `close` gives the connection back."""

    def __init__(self, response: httpcore.Response, give_back: Callable[[], Awaitable[None]]) -> None:
        self.status = response.status
        self.headers: RawHeaders = response.headers
        self._response = response
        self._give_back = give_back

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body undecoded; raises HttpFailure when it breaks off."""
        try:
            async for piece in self._response.aiter_stream():
                yield piece
        except _FAILURES as error:
            raise HttpFailure(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """After the end of the body the connection is kept for another request; before that it is cut."""
        await self._response.aclose()
        await self._give_back()


class RawClient:
    """For a proxy: passes requests and answers on as they are, nothing read ahead, decoded or followed.

    It sits on the connections of httpcore, not on its pool: that walks all connections for each request, several times,
    which took ten times as long as everything else that the gateway does.
    """

    def __init__(self, *, connect_seconds: float, silent_seconds: float) -> None:
        """`silent_seconds` is how long an answer, or its next piece, may stay away."""
        self._timeouts = {"connect": connect_seconds, "read": silent_seconds, "write": silent_seconds}
        # By the address; the one that was given back last is taken first, so that those too many grow old.
        self._idle: defaultdict[str, deque[httpcore.AsyncHTTPConnection]] = defaultdict(deque)
        self._network = httpcore.AnyIOBackend()

    async def send(
        self, method: str, base_url: str, target: bytes, headers: RawHeaders, body: bytes | AsyncIterable[bytes]
    ) -> RawAnswer:
        """Send one request and return the head of its answer; raises NotSent, or HttpFailure when no answer came."""
        extensions = {"timeout": self._timeouts, "target": target}
        request = httpcore.Request(method, base_url, headers=headers, content=body, extensions=extensions)
        connection = await self._taken(base_url, request)
        try:
            response = await connection.handle_async_request(request)
        except BaseException as error:
            await _cut(connection)
            if isinstance(error, _BEFORE_SENDING):
                raise NotSent(str(error) or type(error).__name__) from error
            if isinstance(error, _FAILURES):
                raise HttpFailure(str(error) or type(error).__name__) from error
            raise

        async def give_back() -> None:
            if connection.is_idle():
                self._idle[base_url].append(connection)

        return RawAnswer(response, give_back)

    async def _taken(self, base_url: str, request: httpcore.Request) -> httpcore.AsyncHTTPConnection:
        idle = self._idle[base_url]
        await self._cut_expired(idle)
        while idle:
            connection = idle.pop()
            if not connection.has_expired():
                return connection
            await _cut(connection)
        return httpcore.AsyncHTTPConnection(
            request.url.origin, keepalive_expiry=KEPT_SECONDS, network_backend=self._network
        )

    async def _cut_expired(self, idle: deque[httpcore.AsyncHTTPConnection]) -> None:
        while idle and idle[0].has_expired():
            await _cut(idle.popleft())

    async def close(self) -> None:
        """Close the idle connections; those in use belong to their answers."""
        for idle in self._idle.values():
            while idle:
                await _cut(idle.pop())


async def _cut(connection: httpcore.AsyncHTTPConnection) -> None:
    with contextlib.suppress(*_FAILURES):
        await connection.aclose()


_BEFORE_SENDING = (httpcore.ConnectError, httpcore.ConnectTimeout)
_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)

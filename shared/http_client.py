"""Outgoing HTTP: the only file that imports httpx, and httpcore beneath it."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
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

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        self.headers: RawHeaders = response.headers
        self._response = response

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body undecoded; raises HttpFailure when it breaks off."""
        try:
            async for piece in self._response.aiter_stream():
                yield piece
        except _FAILURES as error:
            raise HttpFailure(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Harmless when the body was read to its end; before that the connection is cut."""
        await self._response.aclose()


class RawClient:
    """For a proxy: passes requests and answers on as they are, nothing read ahead, decoded or followed.

    It sits on httpcore, since httpx would spend more time on a request than all the rest of a proxy does.
    """

    def __init__(self, *, connections: int, connect_seconds: float, silent_seconds: float) -> None:
        """`silent_seconds` is how long an answer, or its next piece, may stay away."""
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEPT_SECONDS
        )
        waits = {"connect": connect_seconds, "pool": connect_seconds}
        self._timeouts = {**waits, "read": silent_seconds, "write": silent_seconds}

    async def send(
        self, method: str, base_url: str, target: bytes, headers: RawHeaders, body: bytes | AsyncIterable[bytes]
    ) -> RawAnswer:
        """Send one request and return the head of its answer; raises NotSent, or HttpFailure when no answer came."""
        extensions = {"timeout": self._timeouts, "target": target}
        request = httpcore.Request(method, base_url, headers=headers, content=body, extensions=extensions)
        try:
            return RawAnswer(await self._pool.handle_async_request(request))
        except _BEFORE_SENDING as error:
            raise NotSent(str(error) or type(error).__name__) from error
        except _FAILURES as error:
            raise HttpFailure(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        await self._pool.aclose()


_BEFORE_SENDING = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout)
_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)

"""Outgoing HTTP: the only file that imports httpx."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT_SECONDS = 10.0


class HttpFailure(Exception):  # noqa: N818 - the name of the fact
    """No answer came: connection refused, reset, timed out, or a name that does not resolve."""


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

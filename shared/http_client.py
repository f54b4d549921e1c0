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
    ) -> Answer:
        """Send one request, never following redirects; raises HttpFailure when no answer comes within 10 s."""
        try:
            response = await self._client.request(
                method, url, headers=headers, params=params, content=body, extensions=dict(extensions or {})
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HttpFailure(str(error) or type(error).__name__) from error
        return Answer(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        await self._client.aclose()

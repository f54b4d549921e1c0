"""A caller of the public HTTP API, as a program of a customer would be."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

Json = dict[str, Any]
T = TypeVar("T")
PATIENCE = 30.0


class Caller:
    """One bearer token, one language, one pool of connections."""

    def __init__(self, url: str, token: str, language: str = "en") -> None:
        headers = {"authorization": f"Bearer {token}", "accept-language": language}
        self.http = httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Whatever the answer is; headers are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, json=body, headers=named)

    async def get(self, path: str, **params: Any) -> Any:
        return _read(await self.http.get(path, params={name.rstrip("_"): told for name, told in params.items()}))

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        return _read(await self.ask("POST", path, body, **headers))

    async def patch(self, path: str, body: Any) -> Any:
        return _read(await self.ask("PATCH", path, body, if_match="*"))

    async def delete(self, path: str) -> None:
        _read(await self.ask("DELETE", path, if_match="*"))

    async def everything(self, path: str, **params: Any) -> list[Json]:
        """All pages of a list."""
        found: list[Json] = []
        cursor: Json = {}
        while True:
            page = await self.get(path, limit="200", **params, **cursor)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    async def move(self, deal_id: str, to_stage: str, **more: Any) -> Json:
        moved: Json = await self.post(f"/pipeline/v1/deals/{deal_id}/moves", {"to_stage": to_stage, **more})
        return moved

    async def upload(self, kind: str, content: str, mapping: Json) -> str:
        """Hand in a CSV file to be imported; return the import's id."""
        form = {"kind": kind, "mapping": json.dumps(mapping)}
        answer = await self.http.post(
            "/pipeline/v1/imports", data=form, files={"file": ("deals.csv", content.encode())}
        )
        return str(_read(answer)["id"])

    async def imported(self, kind: str, content: str, mapping: Json) -> Json:
        """Import a CSV file and return its counts when it is done."""
        path = f"/pipeline/v1/imports/{await self.upload(kind, content, mapping)}"

        async def done() -> Json | None:
            state: Json = await self.get(path)
            return None if state["status"] == "running" else state

        state = await until(done)
        assert state["status"] == "completed", state
        return state

    async def value(self, kpi: str, *, token: str | None = None, **params: Any) -> Json:
        """The one item of a KPI; with the token of a move, once that is counted."""
        more = {} if token is None else {"consistency_token": token}
        answer = await self.get("/kpi/v1/values", kpi=kpi, **params, **more)
        assert token is None or answer["counted"] is True, answer
        (item,) = answer["items"]
        found: Json = item
        return found

    @asynccontextmanager
    async def stream(self, path: str, *, after: str | None = None, **params: Any) -> AsyncIterator["Events"]:
        """An event stream that is open within the block."""
        headers = {} if after is None else {"last-event-id": after}
        timeout = httpx.Timeout(10, read=40)
        async with self.http.stream("GET", path, params=params, headers=headers, timeout=timeout) as answer:
            assert answer.status_code == 200, await answer.aread()
            yield Events(answer)


class Events:
    """Server-sent events as they come, comments left out."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last_id = ""

    async def next(self, within: float = PATIENCE) -> Json:
        """The next event: `{"id", "event", "data"}`."""
        async with asyncio.timeout(within):
            while True:
                event = await self._read()
                self.last_id = event.get("id", self.last_id)
                if "data" in event:
                    return {**event, "data": json.loads(event["data"])}

    async def rest(self, within: float = 2) -> None:
        """Pass over what still comes; raises EOFError at the proper end of the stream."""
        while True:
            await self.next(within)

    async def opened(self) -> None:
        """Return once the server has said where the stream begins."""
        async with asyncio.timeout(PATIENCE):
            while not self.last_id:
                self.last_id = (await self._read()).get("id", "")

    async def _read(self) -> dict[str, str]:
        event: dict[str, str] = {}
        async for line in self._lines:
            if not line and event:
                return event
            name, _, told = line.partition(":")
            if name:
                event[name] = told.removeprefix(" ")
        raise EOFError("the stream has ended")


def _read(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:800]}"
    return answer.json() if answer.content else None


async def until(look: Callable[[], Awaitable[T | None]], within: float = PATIENCE) -> T:
    """Return what `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + within
    while not (found := await look()):
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.02)
    return found


def money(amount: str, currency: str = "CNY") -> Mapping[str, str]:
    return {"amount": amount, "currency": currency}

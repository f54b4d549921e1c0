"""The owner's truth behind a topic, over HTTP: `GET /<owner>/v1/exports/<topic>`."""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from shared.bus.subscription import ExportUnavailable, OwnerExport
from shared.events.catalogue import TOPICS
from shared.events.codec import Message
from shared.http_client import HttpClient, HttpFailure

PAGE_LIMIT = 200


class _Item(msgspec.Struct):
    topic: str
    key: str
    headers: dict[str, str]
    value: msgspec.Raw


class _Page(msgspec.Struct):
    items: list[_Item]
    next_cursor: str | None = None


_pages = msgspec.json.Decoder(_Page)


class HttpExport(OwnerExport):
    """Asks the service that owns a topic; `peers` holds an authenticated client for each service by name."""

    def __init__(self, peers: Mapping[str, HttpClient]) -> None:
        self._peers = peers

    async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        """Yield all pages; raises ExportUnavailable."""
        cursor: str | None = None
        while True:
            page = await self._get(topic, {"limit": str(PAGE_LIMIT)} | ({"cursor": cursor} if cursor else {}))
            yield _messages(page)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def after(self, topic: str, stream: str, version: int) -> Sequence[Message]:
        """Return the events of one stream behind `version`; raises ExportUnavailable."""
        return _messages(await self._get(topic, {"stream": stream, "after_version": str(version)}))

    async def _get(self, topic: str, params: Mapping[str, str]) -> _Page:
        owner = TOPICS[topic].owner
        try:
            answer = await self._peers[owner].request("GET", f"/{owner}/v1/exports/{topic}", params=params)
        except HttpFailure as failure:
            raise ExportUnavailable(f"{owner} did not answer: {failure}") from failure
        if not answer.ok:
            raise ExportUnavailable(f"{owner} answered {answer.status} to a request for its export of {topic}")
        try:
            return _pages.decode(answer.body)
        except msgspec.MsgspecError as error:
            raise ExportUnavailable(f"{owner}'s export of {topic} cannot be read: {error}") from error


def _messages(page: _Page) -> list[Message]:
    return [Message(item.topic, item.key, item.headers, bytes(item.value)) for item in page.items]

"""The truth behind notify's topics: present rows as the events that told them, tombstones included."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import Alert
from services.notify.domain.rule import Rule
from services.notify.store import alerts, rules
from shared.events.codec import Message, encode
from shared.events.notify import ALERTS, RULES


@dataclass(frozen=True, slots=True)
class StateExport:
    """A state topic whose streams are `<kind>:<uuid>`."""

    kind: str
    read: Callable[[AsyncConnection, UUID | None, int], Awaitable[Sequence[Message]]]
    find: Callable[[AsyncConnection, UUID], Awaitable[Sequence[Message]]]

    async def page(
        self, tx: AsyncConnection, after_stream: str | None, limit: int
    ) -> tuple[Sequence[Message], str | None]:
        """Return the states of up to `limit` streams behind `after_stream`, and the stream to continue behind."""
        messages = await self.read(tx, self._id(after_stream or ""), limit)
        return messages, messages[-1].key if len(messages) == limit else None

    async def after(self, tx: AsyncConnection, stream: str, version: int) -> Sequence[Message]:
        """Return the present state of `stream` when it is newer than `version`."""
        known = self._id(stream)
        found = [] if known is None else await self.find(tx, known)
        return [message for message in found if int(message.headers["ce_sequence"]) > version]

    def _id(self, stream: str) -> UUID | None:
        kind, _, name = stream.partition(":")
        try:
            return UUID(name) if kind == self.kind else None
        except ValueError:
            return None


def _rules(found: Sequence[Rule]) -> Sequence[Message]:
    return [encode(rule.changed()) for rule in found]


def _alerts(found: Sequence[Alert]) -> Sequence[Message]:
    return [encode(alert.changed(), alert.cause) for alert in found if alert.state != "pending"]


async def _rule_page(tx: AsyncConnection, after: UUID | None, limit: int) -> Sequence[Message]:
    return _rules(await rules.export_page(tx, after, limit))


async def _one_rule(tx: AsyncConnection, rule_id: UUID) -> Sequence[Message]:
    return _rules(list((await rules.named(tx, [rule_id])).values()))


async def _alert_page(tx: AsyncConnection, after: UUID | None, limit: int) -> Sequence[Message]:
    return _alerts(await alerts.export_page(tx, after, limit))


async def _one_alert(tx: AsyncConnection, alert_id: UUID) -> Sequence[Message]:
    return _alerts(list((await alerts.named(tx, [alert_id])).values()))


EXPORTS: Mapping[str, StateExport] = {
    RULES: StateExport("rule", _rule_page, _one_rule),
    ALERTS: StateExport("alert", _alert_page, _one_alert),
}

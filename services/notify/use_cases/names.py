"""Names for texts, asked of the services that own them; short-lived, and never waited for long."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from shared.clock import Clock
from shared.events.base import Names
from shared.http_client import HttpClient, HttpFailure
from shared.logging import get_logger
from shared.runtime.service import Peers

log = get_logger(__name__)

_PATIENCE_SECONDS = 1.0
_LARGEST_BOOK = 20_000
# Owners that only a CRM knows: not asked for with every alert, but soon after they have been made people.
_UNKNOWN_FOR = timedelta(seconds=5)
_MEMBERS = ("person", "team")


class NameBook:
    """Names by reference (`deal:ID`, `person:KEY`, `kpi:KEY`, `stage:PROCESS/CODE`), kept for `kept_for`.

    A name that its owner does not tell in time is left out: the id stands for it.
    """

    def __init__(self, peers: Peers, kept_for: timedelta, clock: Clock) -> None:
        self._peers = peers
        self._kept_for = kept_for
        self._clock = clock
        # None: its owner knows nobody of that name.
        self._known: dict[str, tuple[datetime, Names | None]] = {}

    async def of(self, references: Iterable[str]) -> Mapping[str, Names]:
        """Return the names of `references` as far as they can be had within a second."""
        now = self._clock()
        wanted = set(references) - {"org"}
        missing = sorted(one for one in wanted if one not in self._known or self._known[one][0] <= now)
        if missing:
            await self._ask(missing, now + self._kept_for)
        return {one: name for one in wanted if one in self._known and (name := self._known[one][1])}

    async def kpis(self) -> Collection[str] | None:
        """Return the keys of all KPIs there are; null when nobody tells in time."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await _get(self._peers.kpi, "/kpi/v1/definitions", {})
        except TimeoutError:
            return None
        return {str(item.get("key")) for item in answer.get("items") or []} or None

    async def _ask(self, missing: Sequence[str], until: datetime) -> None:
        if len(self._known) > _LARGEST_BOOK:
            self._known.clear()
        groups: dict[str, list[str]] = {}
        for reference in missing:
            kind, _, name = reference.partition(":")
            groups.setdefault("member" if kind in _MEMBERS else kind, []).append(name)
        questions = [self._learn(kind, names, until) for kind, names in groups.items()]
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.gather(*questions)
        except TimeoutError:
            log.info("names_late", missing=len(missing))

    async def _learn(self, kind: str, names: Sequence[str], until: datetime) -> None:
        ask = {
            "member": self._of_members,
            "goal": self._of_goals,
            "kpi": self._of_kpis,
            "stage": self._of_stages,
            "deal": self._of_deals,
            "customer": self._of_customers,
        }[kind]
        for reference, name in (await ask(names)).items():
            self._known[reference] = (until, name) if name else (self._clock() + _UNKNOWN_FOR, None)

    async def _of_members(self, ids: Sequence[str]) -> Mapping[str, Names | None]:
        """Return the names of people and teams, and None for those that the directory has not."""
        answer = await _get(self._peers.goals, "/goals/v1/names", {"ids": ",".join(map(_bare, ids))})
        if "items" not in answer:
            return {}
        found: dict[str, Names | None] = {f"{kind}:{key}": None for kind in _MEMBERS for key in ids}
        for item in answer.get("items") or []:
            name = _name(item)
            keys = (item.get("id"), item.get("external_id"), f"external:{item.get('external_id')}")
            found |= {f"{item.get('kind')}:{key}": name for key in keys if name}
        return found

    async def _of_kpis(self, keys: Sequence[str]) -> Mapping[str, Names]:
        answer = await _get(self._peers.kpi, "/kpi/v1/definitions", {})
        told = {item.get("key"): item for item in answer.get("items") or []}
        return {f"kpi:{key}": name for key in keys if key in told and (name := _name(told[key]))}

    async def _of_stages(self, stages: Sequence[str]) -> Mapping[str, Names]:
        processes = {stage.partition("/")[0] for stage in stages}
        answers = await asyncio.gather(*(self._process(code) for code in sorted(processes)))
        return {reference: name for answer in answers for reference, name in answer.items()}

    async def _process(self, code: str) -> Mapping[str, Names]:
        answer = await _get(self._peers.pipeline, f"/pipeline/v1/processes/{quote(code, safe='')}", {})
        stages = answer.get("stages") or []
        return {f"stage:{code}/{stage['code']}": name for stage in stages if (name := _name(stage))}

    async def _of_deals(self, ids: Sequence[str]) -> Mapping[str, Names]:
        return await _one_by_one(self._peers.pipeline, "deal", "/pipeline/v1/deals", ids)

    async def _of_customers(self, ids: Sequence[str]) -> Mapping[str, Names]:
        return await _one_by_one(self._peers.pipeline, "customer", "/pipeline/v1/customers", ids)

    async def _of_goals(self, ids: Sequence[str]) -> Mapping[str, Names]:
        return await _one_by_one(self._peers.goals, "goal", "/goals/v1/goals", ids)


async def _one_by_one(peer: HttpClient, kind: str, path: str, ids: Sequence[str]) -> Mapping[str, Names]:
    answers = await asyncio.gather(*(_get(peer, f"{path}/{one}", {}) for one in ids))
    return {f"{kind}:{one}": name for one, answer in zip(ids, answers, strict=True) if (name := _name(answer))}


async def _get(peer: HttpClient, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the answer's object; empty where the owner does not know, or does not answer."""
    try:
        answer = await peer.request("GET", path, params=params)
    except HttpFailure:
        return {}
    if not answer.ok:
        return {}
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _name(told: Mapping[str, Any]) -> Names | None:
    name = told.get("name") or told.get("title")
    if isinstance(name, dict):
        return Names(str(name.get("zh") or name.get("en") or ""), str(name.get("en") or name.get("zh") or ""))
    return Names(name, name) if isinstance(name, str) and name else None


def _bare(key: str) -> str:
    return key.removeprefix("external:")

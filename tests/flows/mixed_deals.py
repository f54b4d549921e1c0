"""A scripted mixture of everything that can happen to deals, told over public HTTP; drawn from a seed."""

import asyncio
import csv
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.flows.company import process, stage
from tests.system_caller import Caller, Json

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 500
CURRENCIES = {"CNY": "%d.%02d", "USD": "%d.%02d", "JPY": "%d", "KWD": "%d.%02d5"}
PRODUCTS = ("disk", "chip", None)
STAGES = ("lead", "talk", "offer", "won", "lost")
# Forward only, with a criterion that nobody meets: every advance needs an override.
STRICT = process(
    "strict",
    stage("one", exit_criteria=[{"kind": "field_present", "field": "fields.proof"}]),
    stage("two", exit_criteria=[{"kind": "field_present", "field": "fields.proof"}]),
    stage("three"),
    moves="forward",
)
STAGES_OF = {"free": STAGES, "strict": ("one", "two", "three", "won", "lost")}
COLUMNS = ("id", "owner", "product", "amount", "currency", *(f"{code}_at" for code in STAGES), "stage", "why")
MAPPING: Json = {
    "process": "free",
    "external_id": "id",
    "owner": "owner",
    "product": "product",
    "amount": {"column": "amount", "currency": {"column": "currency"}},
    "stages": [{"stage": code, "at": f"{code}_at"} for code in STAGES],
    "current_stage": "stage",
    "lost_reason": "why",
}


@dataclass
class Mixture:
    """Plays on; `owners` are external ids, of people who are known and of some who are not."""

    caller: Caller
    seed: int
    owners: tuple[str, ...]
    tag: str
    refused: int = field(default=0)

    async def play(self, deals: int = 36, rows: int = 40) -> None:
        """Import a file, play deals beside each other, import the file corrected, import stage logs."""
        mapping = MAPPING | {"source": {"constant": f"file-{self.tag}"}}
        first = [self.row(Random(f"{self.seed} row {number}"), number) for number in range(rows)]
        state = await self.caller.imported("deals", written(COLUMNS, first), mapping)
        assert (state["created"], state["rejected"]) == (rows, 0), state
        slots = asyncio.Semaphore(4)

        async def one(number: int) -> None:
            async with slots:
                await self.course(Random(f"{self.seed} deal {number}"), number)

        await asyncio.gather(*(one(number) for number in range(deals)))
        await self.hand_over(Random(f"{self.seed} owners"))
        corrected = [self.corrected(Random(f"{self.seed} again {number}"), row) for number, row in enumerate(first)]
        again = await self.caller.imported("deals", written(COLUMNS, corrected), mapping)
        assert (again["created"], again["rejected"]) == (0, 0), again
        assert again["updated"] > 0
        await self.stage_log(Random(f"{self.seed} log"), rows)

    def moment(self, chance: Random) -> datetime:
        return FIRST + timedelta(minutes=chance.randrange(DAYS * 24 * 60))

    def amount(self, chance: Random) -> Json | None:
        if chance.random() < 0.15:
            return None
        currency = chance.choice(list(CURRENCIES))
        numbers = (chance.choice([0, chance.randrange(90_000)]), chance.randrange(100))
        text = CURRENCIES[currency] % numbers[: CURRENCIES[currency].count("%")]
        return {"amount": text, "currency": currency}

    def row(self, chance: Random, number: int) -> dict[str, str]:
        """A deal of a file: its way to some stage, with dates that are known or not."""
        way = list(STAGES[: chance.randint(1, 3)])
        if chance.random() < 0.6:
            way.append(chance.choice(("won", "lost")))
        at = self.moment(chance)
        row = {"id": f"{self.tag}-{number}", "owner": chance.choice(self.owners), "stage": way[-1], "why": "price"}
        money = self.amount(chance)
        row |= money or {"amount": "", "currency": "CNY"}
        row["product"] = chance.choice(PRODUCTS) or ""
        for code in way:
            at += timedelta(minutes=chance.randrange(60 * 24 * 40))
            if chance.random() < 0.8:
                row[f"{code}_at"] = chance.choice([at.isoformat(), at.date().isoformat()])
        return row

    def corrected(self, chance: Random, row: dict[str, str]) -> dict[str, str]:
        """The same row with other dates, another way, another amount; or as it was."""
        kind = chance.choice(["same", "dates", "way", "amount", "owner", "shorter"])
        told = dict(row)
        if kind == "dates":
            for code in [code for code in STAGES if f"{code}_at" in row]:
                told[f"{code}_at"] = self.moment(chance).isoformat()
        elif kind == "way":
            told = self.row(chance, 0) | {"id": row["id"], "owner": row["owner"]}
        elif kind == "amount":
            told |= self.amount(chance) or {"amount": "", "currency": "CNY"}
        elif kind == "owner":
            told["owner"] = chance.choice(self.owners)
        elif kind == "shorter":
            told = {name: value for name, value in row.items() if name not in ("won_at", "lost_at")} | {"stage": "lead"}
        return told

    async def course(self, chance: Random, number: int) -> None:
        """One deal, made and moved by hand."""
        name = chance.choice(["free", "free", "free", "strict"])
        body = {"name": f"Mixed {number}", "process": name, "owner": {"external_id": chance.choice(self.owners)},
                "product": chance.choice(PRODUCTS), "source": chance.choice([None, "web"]),
                "amount": self.amount(chance)}  # fmt: skip
        told = {key: value for key, value in body.items() if value is not None}
        deal = (await self.caller.post("/pipeline/v1/deals", told))["id"]
        for _ in range(chance.randint(0, 9)):
            await self.happen(chance, f"/pipeline/v1/deals/{deal}", STAGES_OF[name])
        if chance.random() < 0.1:
            await self.caller.delete(f"/pipeline/v1/deals/{deal}")

    async def happen(self, chance: Random, path: str, stages: tuple[str, ...]) -> None:
        kind = chance.choice(["move"] * 5 + ["amount", "owner", "product"])
        if kind == "move":
            wanted: Json = {"to_stage": chance.choice(stages), "lost_reason": "price"}
            if chance.random() < 0.7:
                wanted["occurred_at"] = self.moment(chance).isoformat()
            if chance.random() < 0.8:
                wanted["override"] = {"reason": "as scripted"}
            answer = await self.caller.ask("POST", f"{path}/moves", wanted)
            assert answer.status_code in (201, 409), answer.text
            self.refused += answer.status_code == 409
            return
        changes: dict[str, Any] = {
            "amount": {"amount": self.amount(chance)},
            "owner": {"owner": {"external_id": chance.choice(self.owners)}},
            "product": {"product": chance.choice(PRODUCTS)},
        }
        await self.caller.patch(path, changes[kind])

    async def hand_over(self, chance: Random) -> None:
        """Some of the imported deals change hands, before they are corrected."""
        for deal in await self.caller.everything("/pipeline/v1/deals", process="free"):
            if (deal["external_id"] or "").startswith(self.tag) and chance.random() < 0.4:
                owner = {"owner": {"external_id": chance.choice(self.owners)}}
                await self.caller.patch(f"/pipeline/v1/deals/{deal['id']}", owner)

    async def stage_log(self, chance: Random, rows: int) -> None:
        """Single stage entries, late and early, of deals that are known and of new ones."""
        log = [
            {
                "id": f"{self.tag}-{chance.randrange(rows + 5)}",
                "stage": chance.choice(STAGES[:4]),
                "at": "" if chance.random() < 0.2 else self.moment(chance).isoformat(),
                "owner": chance.choice(self.owners),
            }
            for _ in range(25)
        ]
        mapping = {"process": "free", "external_id": "id", "stage": "stage", "at": "at", "owner": "owner",
                   "source": {"constant": f"file-{self.tag}"}}  # fmt: skip
        state = await self.caller.imported("stage_log", written(("id", "stage", "at", "owner"), log), mapping)
        assert state["rejected"] == 0, state


def written(columns: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()

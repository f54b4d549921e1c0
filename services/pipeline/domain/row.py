"""One row while it is read: each reading gives a value or adds a problem, so that all of them are told at once."""

from collections.abc import Callable
from datetime import date, datetime
from typing import TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from services.pipeline.domain.cells import Unreadable, read_amount, read_day, read_moment
from services.pipeline.domain.deal_fields import DealFields
from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.mapping import Cells, DealMapping, MoneyValue, Value

T = TypeVar("T")

LONGEST_TEXT = 500
LONGEST_FIELD = 4000


class OwnerName(msgspec.Struct, frozen=True):
    """Who owns a deal, as a row names the person: by our id, or by an external id."""

    person_id: UUID | None = None
    external_id: str | None = None


class CustomerName(msgspec.Struct, frozen=True):
    """A customer by its external id, with its name where the row tells it."""

    external_id: str
    name: str | None = None


class Row:
    """A row under a mapping; `finish` raises Rejected when anything was wrong."""

    def __init__(self, cells: Cells, date_format: str | None, zone: ZoneInfo) -> None:
        self.cells = cells
        self.problems: list[Problem] = []
        self._date_format = date_format
        self._zone = zone

    def refuse(self, code: str, value: Value | None, text: str | None = None) -> None:
        self.problems.append(Problem(code, value.column if value else None, text))

    def finish(self) -> None:
        if self.problems:
            raise Rejected(self.problems)

    def text(self, value: Value | None, longest: int = LONGEST_TEXT) -> str | None:
        """Return the text, empty for an empty cell; null where nothing is mapped or the row lacks the column."""
        if value is None:
            return None
        text = value.read(self.cells)
        if text:
            if len(text) > longest:
                self.refuse("too_long", value, text)
            if "\0" in text:
                self.refuse("forbidden_character", value)
        return text

    def needed(self, value: Value) -> str:
        text = self.text(value)
        if not text:
            self.refuse("missing_value", value)
        return text or ""

    def moment(self, value: Value | None) -> datetime | None:
        return self._parsed(value, self.text(value), lambda text: read_moment(text, self._zone, self._date_format))

    def day(self, value: Value | None) -> date | None:
        return self._parsed(value, self.text(value), lambda text: read_day(text, self._date_format))

    def owner(self, external_id: Value | None, person_id: Value | None) -> OwnerName | msgspec.UnsetType | None:
        named, person = self.text(external_id), self.text(person_id)
        if named is None and person is None:
            return msgspec.UNSET
        if person:
            return OwnerName(person_id=self._parsed(person_id, person, _read_id))
        return OwnerName(external_id=named) if named else None

    def customer(self, external_id: Value | None, name: Value | None) -> CustomerName | msgspec.UnsetType | None:
        named = self.text(external_id)
        if named is None:
            return msgspec.UNSET
        return CustomerName(named, self.text(name) or None) if named else None

    def deal_fields(self, mapping: DealMapping) -> DealFields:
        """Return what the row tells of a deal without any look-up; a null says that there is no value."""
        told = DealFields()
        if name := self.text(mapping.name):
            told["name"] = name
        if (product := self.text(mapping.product)) is not None:
            told["product"] = product or None
        if (reason := self.text(mapping.lost_reason)) is not None:
            told["lost_reason"] = reason or None
        if mapping.expected_close_on is not None and mapping.expected_close_on.read(self.cells) is not None:
            told["expected_close_on"] = self.day(mapping.expected_close_on)
        if mapping.amount is not None:
            self._money(mapping.amount, told)
        if mapping.fields:
            free = {name: self.text(value, LONGEST_FIELD) for name, value in mapping.fields.items()}
            told["fields"] = {name: text or None for name, text in free.items() if text is not None}
        return told

    def _money(self, value: MoneyValue, told: DealFields) -> None:
        text = self.text(value.amount)
        if text is None:
            return
        told["amount"], told["currency"] = None, None
        if not text:
            return
        if currency := self.needed(value.currency):
            told["amount"] = self._parsed(value.amount, text, lambda amount: read_amount(amount, currency))
            told["currency"] = currency

    def _parsed(self, value: Value | None, text: str | None, parse: Callable[[str], T]) -> T | None:
        if not text:
            return None
        try:
            return parse(text)
        except Unreadable as error:
            self.refuse(error.code, value, error.text)
            return None


def _read_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Unreadable("not_an_id", text) from None

"""Mappings as data: in which column of a file, or path of a body, each field of a deal or a customer is.

A value is written as a column (`"opportunity_id"`), a column with a map of values
(`{"column": "product", "values": {"GTXPro": "GTX Pro"}}`) or a constant (`{"constant": "b2b"}`). `process`, the `stage`
of a stage entry and `currency` are constants when they are plain texts.
"""

from collections.abc import Callable, Iterator

import msgspec

# A row as its mapping sees it: the text of a column; null where the row has no such column at all.
Cells = Callable[[str], str | None]


class Value(msgspec.Struct, frozen=True):
    """Where one value comes from; `values` translates what is in the column, null stands for empty."""

    column: str | None = None
    constant: str | None = None
    values: dict[str, str | None] | None = None

    def read(self, cells: Cells) -> str | None:
        """Return the stripped text, empty for an empty cell, null where the row does not have the column."""
        if self.column is None:
            return self.constant
        cell = cells(self.column)
        if cell is None:
            return None
        cell = cell.strip()
        return cell if self.values is None else (self.values.get(cell, cell) or "")

    def read_listed(self, cells: Cells) -> str:
        """As `read`, but empty where a map of values is given and does not list what is in the column."""
        if self.column is not None and self.values is not None:
            return self.values.get((cells(self.column) or "").strip()) or ""
        return self.read(cells) or ""


class MoneyValue(msgspec.Struct, frozen=True):
    """An amount and its currency."""

    amount: Value
    currency: Value


class EntryValue(msgspec.Struct, frozen=True):
    """A stage entry: which stage, entered when."""

    stage: Value
    at: Value | None


class DealMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How a row tells a deal. What is not mapped is left as it is when the deal exists."""

    external_id: Value
    process: Value | None = None
    source: Value = Value(constant="import")
    name: Value | None = None
    owner: Value | None = None
    owner_id: Value | None = None
    customer: Value | None = None
    customer_name: Value | None = None
    product: Value | None = None
    amount: MoneyValue | None = None
    expected_close_on: Value | None = None
    lost_reason: Value | None = None
    stages: tuple[EntryValue, ...] = ()
    current_stage: Value | None = None
    fields: dict[str, Value] = {}
    date_format: str | None = None


class CustomerMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How a row tells a customer."""

    external_id: Value
    source: Value = Value(constant="import")
    name: Value | None = None
    owner: Value | None = None
    segment: Value | None = None
    sector: Value | None = None
    lifecycle: Value | None = None
    lifecycle_at: Value | None = None
    contact: dict[str, Value] = {}
    date_format: str | None = None


class StageLogMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How a row tells one stage entry of a deal."""

    external_id: Value
    stage: Value
    at: Value
    process: Value | None = None
    source: Value = Value(constant="import")
    owner: Value | None = None
    date_format: str | None = None


RowMapping = DealMapping | CustomerMapping | StageLogMapping


def values_of(mapping: msgspec.Struct, pointer: str = "") -> Iterator[tuple[str, Value]]:
    """Yield every value of a mapping with its JSON pointer."""
    for name in mapping.__struct_fields__:
        yield from _values_in(getattr(mapping, name), f"{pointer}/{name}")


def _values_in(found: object, pointer: str) -> Iterator[tuple[str, Value]]:
    if isinstance(found, Value):
        yield pointer, found
    elif isinstance(found, MoneyValue):
        yield pointer, found.amount
        yield f"{pointer}/currency", found.currency
    elif isinstance(found, EntryValue):
        yield from values_of(found, pointer)
    elif isinstance(found, tuple):
        for index, item in enumerate(found):
            yield from _values_in(item, f"{pointer}/{index}")
    elif isinstance(found, dict):
        for key, item in found.items():
            yield from _values_in(item, f"{pointer}/{key}")

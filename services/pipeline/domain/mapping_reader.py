"""Reading a mapping written in JSON: everything that is wrong with it is found at once."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.mapping import (
    CustomerMapping,
    DealMapping,
    EntryValue,
    MoneyValue,
    RowMapping,
    StageLogMapping,
    Value,
)
from shared.money import MoneyError, exponent

M = TypeVar("M", bound=RowMapping)

KINDS: Mapping[str, type[RowMapping]] = {
    "deals": DealMapping,
    "customers": CustomerMapping,
    "stage_log": StageLogMapping,
}
_REQUIRED: Mapping[type, tuple[str, ...]] = {
    DealMapping: ("external_id",),
    CustomerMapping: ("external_id",),
    StageLogMapping: ("external_id", "stage", "at"),
}
_NOTHING = Value(constant="")


def read_mapping(kind: type[M], raw: object, defaults: Mapping[str, object] | None = None) -> M:
    """Return a mapping of `kind` written in JSON, over `defaults`; raises Rejected with every problem."""
    if not isinstance(raw, Mapping):
        raise Rejected([Problem("wrong_mapping", "")])
    reader = _Reader()
    told = {**(defaults or {}), **raw}
    known = kind.__struct_fields__
    for name in sorted(raw.keys() - set(known)):
        reader.refuse("unknown_field", f"/{name}", name)
    for name in _REQUIRED[kind]:
        if not told.get(name):
            reader.refuse("missing_value", f"/{name}")
    values = {name: reader.read(name, told[name]) for name in known if told.get(name) is not None}
    if reader.problems:
        raise Rejected(reader.problems)
    mapping: M = kind(**values)
    return mapping


class _Reader:
    """Reads the parts of a mapping and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, code: str, pointer: str, value: str | None = None) -> None:
        self.problems.append(Problem(code, pointer, value))

    def read(self, name: str, raw: object) -> Any:
        return _ODD_FIELDS.get(name, _Reader.value)(self, raw, f"/{name}")

    def value(self, raw: object, pointer: str) -> Value:
        """A value in which a plain text names a column."""
        return Value(column=raw) if isinstance(raw, str) and raw else self.described(raw, pointer)

    def constant(self, raw: object, pointer: str) -> Value:
        """A value in which a plain text is the value itself."""
        return Value(constant=raw) if isinstance(raw, str) and raw else self.described(raw, pointer)

    def described(self, raw: object, pointer: str) -> Value:
        if not isinstance(raw, Mapping):
            self.refuse("wrong_mapping", pointer)
            return _NOTHING
        self.only(raw, {"column", "values", "constant"}, pointer)
        if not (_is_column(raw) or _is_constant(raw)):
            self.refuse("wrong_mapping", pointer)
            return _NOTHING
        return Value(raw.get("column"), raw.get("constant"), raw.get("values"))

    def only(self, raw: Mapping[str, object], keys: set[str], pointer: str) -> None:
        for key in sorted(raw.keys() - keys):
            self.refuse("unknown_field", f"{pointer}/{key}", key)

    def money(self, raw: object, pointer: str) -> MoneyValue:
        if not isinstance(raw, Mapping) or not raw.get("currency"):
            self.refuse("missing_value", f"{pointer}/currency")
            return MoneyValue(_NOTHING, _NOTHING)
        currency = self.constant(raw["currency"], f"{pointer}/currency")
        if currency.constant:
            self.check_currency(currency.constant, f"{pointer}/currency")
        return MoneyValue(self.described({k: v for k, v in raw.items() if k != "currency"}, pointer), currency)

    def check_currency(self, code: str, pointer: str) -> None:
        try:
            exponent(code)
        except MoneyError:
            self.refuse("not_a_currency", pointer, code)

    def entries(self, raw: object, pointer: str) -> tuple[EntryValue, ...]:
        if not isinstance(raw, list):
            self.refuse("wrong_mapping", pointer)
            return ()
        return tuple(self.entry(item, f"{pointer}/{index}") for index, item in enumerate(raw))

    def entry(self, raw: object, pointer: str) -> EntryValue:
        if not isinstance(raw, Mapping) or not raw.get("stage"):
            self.refuse("missing_value", f"{pointer}/stage")
            return EntryValue(_NOTHING, None)
        self.only(raw, {"stage", "at"}, pointer)
        at = None if raw.get("at") is None else self.value(raw["at"], f"{pointer}/at")
        return EntryValue(self.constant(raw["stage"], f"{pointer}/stage"), at)

    def table(self, raw: object, pointer: str) -> dict[str, Value]:
        if not isinstance(raw, Mapping):
            self.refuse("wrong_mapping", pointer)
            return {}
        return {str(key): self.value(value, f"{pointer}/{key}") for key, value in raw.items()}

    def date_format(self, raw: object, pointer: str) -> str:
        if not isinstance(raw, str) or "%" not in raw:
            self.refuse("wrong_mapping", pointer)
            return ""
        return raw


def _is_column(raw: Mapping[str, object]) -> bool:
    values = raw.get("values")
    readable = values is None or (
        isinstance(values, dict)
        and all(isinstance(key, str) and isinstance(value, str | None) for key, value in values.items())
    )
    return isinstance(raw.get("column"), str) and bool(raw["column"]) and readable and "constant" not in raw


def _is_constant(raw: Mapping[str, object]) -> bool:
    return isinstance(raw.get("constant"), str) and raw.keys() <= {"constant"}


_ODD_FIELDS: Mapping[str, Callable[[_Reader, object, str], object]] = {
    "amount": _Reader.money,
    "stages": _Reader.entries,
    "fields": _Reader.table,
    "contact": _Reader.table,
    "date_format": _Reader.date_format,
    "process": _Reader.constant,
}

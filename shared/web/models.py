"""The shapes that all request and response models are made of: strict bodies, money, names, times, pages."""

import re
from datetime import date, datetime
from typing import Annotated, Generic, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.clock import as_utc, rfc3339
from shared.language import Text
from shared.money import Money, MoneyError, exponent

T = TypeVar("T")

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
LARGEST_SAFE = 2**53 - 1


def refused(code: str, text: Text) -> PydanticCustomError:
    """Return what a validator of ours raises: a stable code and a text in both languages."""
    return PydanticCustomError(code, "{en}", dict(text))  # type: ignore[arg-type] # the code is data here


class Body(BaseModel):
    """Base of request bodies: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Query(BaseModel):
    """Base of query parameter models: unknown parameters are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """Base of response bodies."""

    model_config = ConfigDict(frozen=True)


# Pydantic would take false for 0 and "7" for 7; what JavaScript cannot hold exactly is refused.
StrictInt = Annotated[int, Strict(), Field(ge=-LARGEST_SAFE, le=LARGEST_SAFE)]
StrictBool = Annotated[bool, Strict()]

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
LongText = Annotated[str, StringConstraints(max_length=10_000)]
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
DecimalText = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,10})?$")]


def _is_currency(code: str) -> str:
    try:
        exponent(code)
    except MoneyError:
        raise refused(
            "not_a_currency", {"zh": f"{code} 不是 ISO 4217 货币代码", "en": f"{code} is no currency code of ISO 4217"}
        ) from None
    return code


# The pattern alone would let XXX pass, whose decimals nobody knows.
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), AfterValidator(_is_currency)]


def _only_rfc3339(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC3339.fullmatch(value)):
        return value
    raise PydanticCustomError("datetime_parsing", "an RFC 3339 time with a zone")


def _to_utc(value: datetime) -> datetime:
    try:
        return as_utc(value)
    except (ValueError, OverflowError):
        raise PydanticCustomError("timezone_aware", "an RFC 3339 time with a zone") from None


Rfc3339 = Annotated[
    datetime,
    BeforeValidator(_only_rfc3339),
    AfterValidator(_to_utc),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-23T09:00:00Z"]}),
]


def _only_iso_date(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and _ISO_DATE.fullmatch(value)):
        return value
    raise PydanticCustomError("date_parsing", "a day as YYYY-MM-DD")


# Pydantic would take seconds since 1970, also in digits, and midnights for days.
# Behind the bounds of a day, where it has any: before them, Pydantic would publish bounds under names of its own.
ISO_ONLY = BeforeValidator(_only_iso_date)
IsoDate = Annotated[date, ISO_ONLY]


class MoneyBody(BaseModel):
    """Money over HTTP: `{"amount": "12.30", "currency": "CNY"}`, the amount as a decimal text."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"amount": "12.30", "currency": "CNY"}]}
    )

    amount: DecimalText
    currency: CurrencyCode

    @model_validator(mode="after")
    def _is_money(self) -> Self:
        try:
            self.to_money()
        except MoneyError:
            raise refused(
                "invalid_money",
                {
                    "zh": f"金额 {self.amount} 过大，或小数位数多于 {self.currency} 所允许",
                    "en": f"{self.amount} is too large, or more precise than {self.currency} is",
                },
            ) from None
        return self

    def to_money(self) -> Money:
        return Money.parse(self.amount, self.currency)

    @classmethod
    def of(cls, money: Money) -> Self:
        return cls(amount=money.amount, currency=money.currency)


class NamesBody(BaseModel):
    """A text in Chinese and English."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"zh": "客户开发", "en": "Prospecting"}]}
    )

    zh: ShortText
    en: ShortText


class Page(BaseModel, Generic[T]):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None = None

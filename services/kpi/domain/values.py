"""From sums to a value: exact integers until one last division, rounded half to even, written as decimal text."""

from dataclasses import dataclass
from decimal import Decimal

from services.kpi.domain.definitions import Definition, Sums
from shared.money import to_text

PLACES = 6
NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Value:
    """`value` = `numerator` / `denominator`, all decimal texts; a null value has a `reason`."""

    value: str | None
    numerator: str | None
    denominator: str | None
    sample_size: int
    reason: str | None = None


def evaluate(definition: Definition, sums: Sums, currency: str | None) -> Value:
    """Return the value of a KPI from its sums; `currency` is needed where the unit is money.

    A quotient without denominator, and money of no currency, have no value: the reason is `no_data`.
    """
    part, sample_size = definition.part_of(sums), definition.sample_size(sums)
    if definition.unit == "money" and currency is None:
        return Value(None, None, None, sample_size, NO_DATA)
    numerator = to_text(part, currency) if currency is not None and definition.unit == "money" else str(part)
    if not definition.is_quotient:
        return Value(numerator, numerator, "1", sample_size)
    if sums.den == 0:
        return Value(None, numerator, "0", sample_size, NO_DATA)
    return Value(_quotient(definition, part, sums.den, currency), numerator, str(sums.den), sample_size)


def _quotient(definition: Definition, part: int, den: int, currency: str | None) -> str:
    if definition.unit == "money" and currency is not None:
        return to_text(divide_half_even(part, den), currency)
    return six_digits(part, den)


def six_digits(part: int, whole: int) -> str:
    """Return part / whole with six digits, halves to even."""
    return f"{Decimal(divide_half_even(part * 10**PLACES, whole)).scaleb(-PLACES):.{PLACES}f}"


def divide_half_even(part: int, whole: int) -> int:
    """Return the integer nearest to part / whole (`whole` > 0), the even one of two equally near."""
    quotient, remainder = divmod(part, whole)
    if 2 * remainder > whole or (2 * remainder == whole and quotient % 2):
        return quotient + 1
    return quotient

"""Numbers of goals: decimals with the places of their unit, ratios rounded last, halves to even."""

from decimal import Decimal, InvalidOperation
from fractions import Fraction

from services.goals.domain.kpis import Kpi
from shared.money import exponent

BASIS_POINTS = 10_000
RATIO_PLACES = 6
LARGEST = Decimal(10) ** 15


class NumberFault(ValueError):  # noqa: N818 - the name of the fact
    """A text that is no number of its unit; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def places_of(kpi: Kpi, currency: str | None) -> int:
    """Return how many decimals numbers of `kpi` have: money those of its currency, quotients six, counts none.

    Raises MoneyError when `currency` is no code.
    """
    if kpi.unit == "money":
        return exponent(currency or "")
    return RATIO_PLACES if kpi.mean else 0


def parse_number(text: str, places: int) -> Decimal:
    """Return `text` as a decimal from 0 to 10^15 with exactly `places` decimals; raises NumberFault."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise NumberFault("not_a_number") from None
    if not number.is_finite():
        raise NumberFault("not_a_number")
    if not 0 <= number <= LARGEST:
        raise NumberFault("out_of_range")
    if number != round(number, places):
        raise NumberFault("too_many_decimals")
    return round(number, places)


def rounded(exact: Fraction, places: int) -> Decimal:
    """Return `exact` with `places` decimals, halves to even."""
    return Decimal(round(exact * 10**places)).scaleb(-places)


def ratio(part: Decimal, whole: Decimal) -> Decimal | None:
    """Return `part / whole` with six digits; None when `whole` is zero."""
    return rounded(Fraction(part) / Fraction(whole), RATIO_PLACES) if whole else None


def to_units(number: Decimal, places: int) -> int:
    """Return a number of `places` decimals as a whole number of its smallest unit."""
    return int(number.scaleb(places))


def from_units(units: int, places: int) -> Decimal:
    """Return whole smallest units as a number of `places` decimals."""
    return Decimal(units).scaleb(-places)


def text_of(number: Decimal) -> str:
    """Return the number as plain digits, never in exponent notation."""
    return f"{number:f}"

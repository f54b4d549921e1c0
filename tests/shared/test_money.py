"""Money is exact: text to minor units and back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import LARGEST_MINOR, Money, MoneyError, to_minor, to_text


@given(minor=st.integers(-LARGEST_MINOR, LARGEST_MINOR), currency=st.sampled_from(["CNY", "USD", "JPY", "KWD", "CLF"]))
def test_text_and_back_is_the_same(minor: int, currency: str) -> None:
    assert to_minor(to_text(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.30", "CNY", 1230),
        ("12.3", "CNY", 1230),
        ("12", "JPY", 12),
        ("1.234", "KWD", 1234),
        (Decimal("-0.01"), "USD", -1),
    ],
)
def test_minor_units(amount: str | Decimal, currency: str, minor: int) -> None:
    assert to_minor(amount, currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency"),
    [("12.345", "CNY"), ("0.5", "JPY"), ("NaN", "CNY"), ("Infinity", "CNY"), ("x", "CNY"), ("1e400", "CNY"), ("1", "cny"),
     ("1", "RMBX"), ("1", "RMB"), ("1", "ZZZ"), ("1e999999999", "CNY"), ("", "CNY"), ("1e-999999999", "CNY"), ("10000000000000000", "CNY")],
)  # fmt: skip
def test_what_is_no_money_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(MoneyError):
        to_minor(amount, currency)


def test_amount_keeps_its_decimals() -> None:
    assert Money.parse("12.3", "CNY").amount == "12.30"
    assert Money.parse("5", "JPY").amount == "5"

"""Money as integer minor units with an ISO 4217 code; no floats."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

# ISO 4217: currencies whose minor unit is not a hundredth.
_EXPONENTS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
_CODE = re.compile(r"[A-Z]{3}")
# What a bigint column and a JSON consumer can both hold with room for sums.
LARGEST_MINOR = 10**15


class MoneyError(ValueError):
    """An amount or a currency code that cannot be money."""


def exponent(currency: str) -> int:
    """Return the number of decimals of `currency`; raises MoneyError when it is no ISO-like code."""
    if not _CODE.fullmatch(currency):
        message = f"{currency!r} is not a three-letter currency code"
        raise MoneyError(message)
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: str | Decimal | int, currency: str) -> int:
    """Return `amount` in minor units; raises MoneyError when it is no finite number or too precise."""
    places = exponent(currency)
    try:
        number = Decimal(amount)
    except InvalidOperation:
        message = f"{amount!r} is not a decimal number"
        raise MoneyError(message) from None
    if not number.is_finite() or number.adjusted() > len(str(LARGEST_MINOR)):
        message = f"{amount!r} is not an amount of money"
        raise MoneyError(message)
    # By digits, not by Decimal arithmetic: that would round silently at 28 digits.
    sign, digits, power = number.as_tuple()
    whole = int("".join(map(str, digits)))
    shift = int(power) + places
    scale: int = 10 ** min(abs(shift), len(digits) + 1 if shift < 0 else len(str(LARGEST_MINOR)))
    minor, rest = (whole * scale, 0) if shift >= 0 else divmod(whole, scale)
    if rest:
        message = f"{amount} has more decimals than {currency} knows"
        raise MoneyError(message)
    if minor > LARGEST_MINOR:
        message = f"{amount!r} is not an amount of money"
        raise MoneyError(message)
    return -minor if sign else minor


def to_text(minor: int, currency: str) -> str:
    """Return `minor` as a decimal string with the decimals of `currency`: 1230 CNY is `12.30`."""
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):.{places}f}"


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units and its ISO 4217 code."""

    minor: int
    currency: str

    @property
    def amount(self) -> str:
        return to_text(self.minor, self.currency)

    @classmethod
    def parse(cls, amount: str | Decimal | int, currency: str) -> "Money":
        return cls(to_minor(amount, currency), currency)

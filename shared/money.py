"""Money as integer minor units with an ISO 4217 code; no floats."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

# ISO 4217: the codes in use, and those retired since 2010 that histories still hold. An unknown code is refused where
# it comes in: nobody knows its decimals, and a slip of the pen (RMB) would be a currency of its own for ever.
_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL
MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON
RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX
USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
ANG BYR CUC EEK HRK LTL LVL MRO SLL STD VEF ZMK ZWL
"""
_DECIMALS = {
    0: "BIF BYR CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_EXPONENTS = dict.fromkeys(_CODES.split(), 2) | {
    code: places for places, codes in _DECIMALS.items() for code in codes.split()
}
# What a bigint column and a JSON consumer can both hold with room for sums.
LARGEST_MINOR = 10**15


class MoneyError(ValueError):
    """An amount or a currency code that cannot be money."""


def exponent(currency: str) -> int:
    """Return the number of decimals of `currency`; raises MoneyError when ISO 4217 does not know it."""
    places = _EXPONENTS.get(currency)
    if places is None:
        message = f"{currency!r} is not a currency code of ISO 4217"
        raise MoneyError(message)
    return places


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

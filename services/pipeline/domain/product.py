"""What is sold: the catalogue that deals name their product from."""

from typing import NamedTuple

from shared.money import Money


class Product(NamedTuple):
    """A product by its code; deals carry the code as text, so that an unknown product never stops a fact."""

    code: str
    name: str
    series: str | None
    list_price: Money | None
    active: bool
    version: int

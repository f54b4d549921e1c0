"""Products in the database."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.product import Product
from services.pipeline.store.tables import product
from shared.money import Money


async def add_product(tx: AsyncConnection, new: Product) -> bool:
    """Insert a product; return False when its code is taken."""
    done = await tx.execute(upsert(product).values(_to_row(new)).on_conflict_do_nothing().returning(product.c.code))
    return done.first() is not None


async def find_product(tx: AsyncConnection, code: str, *, lock: bool = False) -> Product | None:
    """Return a product by its code, its row locked when it is to be changed."""
    query = select(product).where(product.c.code == code)
    row = (await tx.execute(query.with_for_update() if lock else query)).first()
    return None if row is None else _to_product(row)


async def save_product(tx: AsyncConnection, changed: Product) -> None:
    """Write a product that is there."""
    await tx.execute(update(product).where(product.c.code == changed.code).values(_to_row(changed)))


async def list_products(tx: AsyncConnection, after: str, limit: int) -> Sequence[Product]:
    """Return up to `limit` products behind the code `after`, by code."""
    query = select(product).where(product.c.code > after).order_by(product.c.code).limit(limit)
    return [_to_product(row) for row in await tx.execute(query)]


def _to_row(of: Product) -> dict[str, Any]:
    price = of.list_price
    return {
        "code": of.code,
        "name": of.name,
        "series": of.series,
        "list_price": price and price.minor,
        "currency": price and price.currency,
        "active": of.active,
        "version": of.version,
    }


def _to_product(row: Row[Any]) -> Product:
    price = None if row.list_price is None else Money(row.list_price, row.currency)
    return Product(row.code, row.name, row.series, price, row.active, row.version)

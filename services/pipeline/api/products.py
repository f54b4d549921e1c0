"""The product catalogue over HTTP."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from services.pipeline.api.context import CurrentContext
from services.pipeline.domain.product import Product
from services.pipeline.store.products import add_product, find_product, list_products, save_product
from services.pipeline.use_cases.errors import NotFound
from shared.language import Text
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, Code, MoneyBody, Page, ShortText, StrictBool
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal, ManagerOrAdmin
from shared.web.problems import conflict

router = APIRouter(tags=["products"])

_TAKEN: Text = {"zh": "已有这个编码的产品。", "en": "There is a product with this code."}


class ProductBody(Body):
    """A product; `code` is what deals name it by."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "GTX Pro",
                    "name": "GTX Pro",
                    "series": "GTX",
                    "list_price": {"amount": "4821.00", "currency": "USD"},
                }
            ]
        }
    )

    code: ShortText
    name: ShortText
    series: ShortText | None = None
    list_price: MoneyBody | None = None


class ProductChange(Body):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"active": False}]})

    name: ShortText | None = None
    series: ShortText | None = None
    list_price: MoneyBody | None = None
    active: StrictBool | None = None


class ProductAnswer(Answer):
    """A product of the catalogue."""

    code: Code | ShortText
    name: ShortText
    series: ShortText | None
    list_price: MoneyBody | None
    active: bool
    version: int

    @classmethod
    def of(cls, product: Product) -> "ProductAnswer":
        price = None if product.list_price is None else MoneyBody.of(product.list_price)
        return cls.model_validate(product._asdict() | {"list_price": price})


@router.post("/products", status_code=201, response_model=ProductAnswer)
async def post_product(body: ProductBody, context: CurrentContext, _who: ManagerOrAdmin, once: Idempotent) -> Response:
    """Add a product; 409 `already_exists` when its code is taken."""
    price = body.list_price.to_money() if body.list_price else None
    new = Product(body.code, body.name, body.series, price, active=True, version=1)

    async def work(tx: AsyncConnection) -> Reply:
        if not await add_product(tx, new):
            raise conflict("already_exists", _TAKEN)
        location = f"/pipeline/v1/products/{quote(new.code, safe='')}"
        return Reply(201, ProductAnswer.of(new), {"location": location, "etag": etag(1)})

    return await once.run(context.database, work)


@router.get("/products")
async def read_products(
    request: Request,
    response: Response,
    query: Annotated[Pagination, Query()],
    context: CurrentContext,
    _who: CurrentPrincipal,
) -> Page[ProductAnswer]:
    """List the catalogue by code."""
    after = read_position(request, query.cursor, query, tuple[str])
    async with context.database.snapshot() as tx:
        found = await list_products(tx, after[0] if after else "", query.limit + 1)
    more = (found[query.limit - 1].code,) if len(found) > query.limit else None
    return page_response(request, response, [ProductAnswer.of(each) for each in found[: query.limit]], more, query)


@router.get("/products/{code:path}", response_model=ProductAnswer)
async def read_product(
    code: str, request: Request, response: Response, context: CurrentContext, _who: CurrentPrincipal
) -> ProductAnswer | Response:
    """Read one product."""
    async with context.database.snapshot() as tx:
        found = await find_product(tx, code)
    if found is None:
        raise NotFound("product")
    response.headers["etag"] = etag(found.version)
    return not_modified(request, found.version) or ProductAnswer.of(found)


@router.patch("/products/{code:path}")
async def patch_product(
    code: str,
    body: ProductChange,
    response: Response,
    context: CurrentContext,
    _who: ManagerOrAdmin,
    if_match: IfMatch = None,
) -> ProductAnswer:
    """Change a product, or take it out of the catalogue (`active: false`); deals keep naming it."""
    async with context.database.transaction() as tx:
        found = await find_product(tx, code, lock=True)
        if found is None:
            raise NotFound("product")
        require_match(if_match, found.version)
        price = body.list_price.to_money() if body.list_price else found.list_price
        changed = Product(
            code,
            body.name or found.name,
            body.series if body.series is not None else found.series,
            price,
            found.active if body.active is None else body.active,
            found.version + 1,
        )
        await save_product(tx, changed)
    response.headers["etag"] = etag(changed.version)
    return ProductAnswer.of(changed)

"""`GET /definitions`: what each KPI is, as data."""

from typing import Literal

from fastapi import APIRouter

from services.kpi.domain.definitions import DEFINITIONS, Definition, Dimension, Kind
from shared.events.kpi import Unit
from shared.web.models import Answer, NamesBody, Page
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["definitions"])


class DefinitionAnswer(Answer):
    """One KPI. `dimensions` are what `by` of `GET /values` may name; `description` is its formula in words."""

    key: str
    version: int
    name: NamesBody
    description: NamesBody
    kind: Kind
    unit: Unit
    dimensions: list[Dimension]
    direction: Literal["up", "down"]


@router.get("/definitions")
async def list_definitions(_principal: CurrentPrincipal) -> Page[DefinitionAnswer]:
    """Every KPI with its meaning, unit and breakdowns."""
    return Page(items=[_shown(definition) for definition in DEFINITIONS.values()])


def _shown(definition: Definition) -> DefinitionAnswer:
    return DefinitionAnswer(
        key=definition.key,
        version=definition.version,
        name=NamesBody(zh=definition.name.zh, en=definition.name.en),
        description=NamesBody(zh=definition.description.zh, en=definition.description.en),
        kind=definition.kind,
        unit=definition.unit,
        dimensions=list(definition.dimensions),
        direction=definition.direction,
    )

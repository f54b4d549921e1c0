"""Alert rules over HTTP."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.notify.api.conditions import When, shown
from services.notify.api.context import Context, CurrentContext
from services.notify.domain.alert import Severity
from services.notify.domain.conditions import KpiCondition, scope_of
from services.notify.domain.rule import Addressed, Addressee, Rule
from services.notify.store import rules as rule_store
from services.notify.store.visibility import rules_seen
from services.notify.use_cases.rules import (
    Author,
    Draft,
    await_scope,
    change_rule,
    create_rule,
    delete_rule,
    drafted,
)
from shared.auth.principal import Principal
from shared.events.base import Names
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, ExternalId, NamesBody, Page, Rfc3339, ShortText, refused
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import ManagerOrAdmin
from shared.web.problems import not_found

router = APIRouter(tags=["rules"])

LARGEST_FAN_OUT = 20


class PersonBody(Body):
    """One person, by id or by external id."""

    person_id: UUID | None = None
    external_id: ExternalId | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.person_id is None) == (self.external_id is None):
            text = {"zh": "需要 person_id 或 external_id 之一", "en": "needs person_id or external_id, one of them"}
            raise refused("exactly_one", {"zh": text["zh"], "en": text["en"]})
        return self


AddressedBody = Literal["owner", "manager"] | PersonBody
ChannelIds = Annotated[list[UUID], Field(max_length=LARGEST_FAN_OUT)]

_EXAMPLE: dict[str, Any] = {
    "name": {"zh": "华东本月赢单率偏低", "en": "Win rate of the East is low this month"},
    "when": {
        "kpi": "win_rate",
        "scope": "team:east",
        "grain": "month",
        "op": "lt",
        "threshold": "0.25",
        "for": "PT1H",
        "min_sample_size": 10,
    },
    "severity": "warning",
    "channels": [],
    "to": "manager",
}


class RuleBody(Body):
    """A rule to be written."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: ShortText | NamesBody
    when: When
    severity: Severity = "warning"
    channels: ChannelIds = Field(default_factory=list)
    to: AddressedBody | None = None


class RulePatch(Body):
    """What is to be changed of a rule; `when` is replaced as a whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"severity": "critical"}]})

    name: ShortText | NamesBody | None = None
    when: When | None = None
    severity: Severity | None = None
    channels: ChannelIds | None = None
    to: AddressedBody | None = None


class RuleAnswer(Answer):
    """A rule as it stands."""

    id: UUID
    name: str | NamesBody
    when: dict[str, Any]
    severity: Severity
    channels: list[UUID]
    to: Literal["owner", "manager"] | dict[str, str] | None
    created_by: str
    created_at: Rfc3339
    updated_at: Rfc3339
    version: int

    @classmethod
    def of(cls, rule: Rule) -> Self:
        return cls(
            id=rule.id,
            name=rule.name if isinstance(rule.name, str) else NamesBody(zh=rule.name.zh, en=rule.name.en),
            when=dict(shown(rule.condition)),
            severity=rule.severity,
            channels=list(rule.channels),
            to=msgspec.to_builtins(rule.to),
            created_by=rule.created_by,
            created_at=rule.created_at,
            updated_at=rule.recorded_at,
            version=rule.version,
        )


@router.post("/rules", status_code=201, response_model=RuleAnswer)
async def create(body: RuleBody, once: Idempotent, principal: ManagerOrAdmin, context: CurrentContext) -> Response:
    """Write a rule; a value that meets it already fires at once. A manager's rule sees what the manager sees."""
    draft = Draft(
        _names(body.name), body.when.to_condition(), body.severity, tuple(dict.fromkeys(body.channels)), _to(body.to)
    )
    author = await _author(context, draft, principal)

    async def work(tx: AsyncConnection) -> Reply:
        rule = await create_rule(tx, draft, author, context.alerting)
        headers = {"location": f"/notify/v1/rules/{rule.id}", "etag": etag(rule.version)}
        return Reply(201, RuleAnswer.of(rule), headers)

    return await once.run(context.database, work)


@router.get("/rules")
async def read_all(
    request: Request,
    response: Response,
    page: Annotated[Pagination, Query()],
    principal: ManagerOrAdmin,
    context: CurrentContext,
) -> Page[RuleAnswer]:
    """List the rules that the caller may see, the newest first."""
    after = read_position(request, page.cursor, page, tuple[UUID])
    async with context.database.transaction() as tx:
        seen = await rules_seen(tx, principal)
        rules = await rule_store.page(tx, seen, after[0] if after else None, page.limit + 1)
    shown_rules = [RuleAnswer.of(rule) for rule in rules[: page.limit]]
    following = [rules[page.limit - 1].id] if len(rules) > page.limit else None
    return page_response(request, response, shown_rules, following, page)


@router.get("/rules/{rule_id}", response_model=RuleAnswer)
async def read(
    request: Request, response: Response, rule_id: UUID, principal: ManagerOrAdmin, context: CurrentContext
) -> RuleAnswer | Response:
    """Read one rule."""
    rule = await _rule(context, rule_id, principal)
    response.headers["etag"] = etag(rule.version)
    return not_modified(request, rule.version) or RuleAnswer.of(rule)


@router.patch("/rules/{rule_id}")
async def change(
    response: Response,
    rule_id: UUID,
    body: RulePatch,
    principal: ManagerOrAdmin,
    context: CurrentContext,
    if_match: IfMatch = None,
) -> RuleAnswer:
    """Change a rule. With another `when` its open alerts resolve and it begins anew."""
    rule = await _rule(context, rule_id, principal)
    require_match(if_match, rule.version)
    draft = _merged(drafted(rule), body)
    author = await _author(context, draft, principal)
    async with context.database.transaction() as tx:
        changed = await change_rule(
            tx, rule_id, draft, author, context.alerting, lambda version: require_match(if_match, version)
        )
    if changed is None:
        raise not_found("rule")
    response.headers["etag"] = etag(changed.version)
    return RuleAnswer.of(changed)


@router.delete("/rules/{rule_id}", status_code=204)
async def delete(
    rule_id: UUID, principal: ManagerOrAdmin, context: CurrentContext, if_match: IfMatch = None
) -> Response:
    """Take a rule back; its open alerts resolve."""
    async with context.database.transaction() as tx:
        gone = await delete_rule(
            tx, rule_id, principal, context.alerting, lambda version: require_match(if_match, version)
        )
    if not gone:
        raise not_found("rule")
    return Response(status_code=204)


async def _rule(context: Context, rule_id: UUID, principal: Principal) -> Rule:
    async with context.database.transaction() as tx:
        rule = await rule_store.find(tx, rule_id, await rules_seen(tx, principal))
    if rule is None:
        raise not_found("rule")
    return rule


async def _author(context: Context, draft: Draft, principal: Principal) -> Author:
    """Return who writes, once the draft's scope has had time to arrive here; asks kpi: outside of any transaction."""
    scope = scope_of(draft.condition)
    if scope != "org":
        await await_scope(context.database, scope)
    return Author(principal, await context.names.kpis() if isinstance(draft.condition, KpiCondition) else None)


def _merged(known: Draft, body: RulePatch) -> Draft:
    return Draft(
        name=known.name if body.name is None else _names(body.name),
        condition=known.condition if body.when is None else body.when.to_condition(),
        severity=body.severity or known.severity,
        channels=known.channels if body.channels is None else tuple(dict.fromkeys(body.channels)),
        to=_to(body.to) if "to" in body.model_fields_set else known.to,
    )


def _names(name: str | NamesBody) -> str | Names:
    return name if isinstance(name, str) else Names(name.zh, name.en)


def _to(told: Literal["owner", "manager"] | PersonBody | None) -> Addressed | None:
    if isinstance(told, PersonBody):
        return Addressee(person_id=told.person_id, external_id=told.external_id)
    return told

"""Alerts over HTTP, with what they say in both languages."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.notify.api.context import Context, CurrentContext
from services.notify.domain.alert import Alert, Resolution, Severity, TransitionName
from services.notify.domain.rule import Rule
from services.notify.domain.texts import Message, NameOf, references, render
from services.notify.store import alerts as alert_store
from services.notify.store import rules as rule_store
from services.notify.store.tables import ALERT
from services.notify.store.visibility import alerts_seen
from services.notify.use_cases.acknowledgements import acknowledge
from shared.events.base import Names
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, NamesBody, Page, Rfc3339, ShortText
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal
from shared.web.problems import not_found

router = APIRouter(tags=["alerts"])


class AlertFilters(Pagination):
    """Which alerts to list."""

    state: Literal["firing", "resolved"] | None = None
    rule_id: UUID | None = None
    severity: Severity | None = None
    correlation_id: Annotated[str | None, Field(max_length=200)] = None


class TextBody(Answer):
    """A text in Chinese and English."""

    zh: str
    en: str

    @classmethod
    def of(cls, text: Names) -> Self:
        return cls(zh=text.zh, en=text.en)


class RuleReference(Answer):
    """The rule of an alert."""

    id: UUID
    name: str | NamesBody


class AlertAnswer(Answer):
    """An alert. `subject` tells what it is about: `kind` kpi, deal or goal, the `stream`, and the figures of then."""

    id: UUID
    state: Literal["firing", "resolved"]
    severity: Severity
    rule: RuleReference
    subject: dict[str, Any]
    title: TextBody
    text: TextBody
    fired_at: Rfc3339 | None
    resolved_at: Rfc3339 | None
    resolution: Resolution | None
    resolved_value: str | None
    acknowledged_at: Rfc3339 | None
    acknowledged_by: str | None
    note: str | None
    correlation_id: str
    version: int

    @classmethod
    def of(cls, alert: Alert, rule: Rule, message: Message) -> Self:
        name = rule.name
        return cls(
            id=alert.id,
            state="resolved" if alert.state == "resolved" else "firing",
            severity=alert.severity,
            rule=RuleReference(id=rule.id, name=name if isinstance(name, str) else NamesBody(zh=name.zh, en=name.en)),
            subject=msgspec.to_builtins(alert.subject),
            title=TextBody.of(message.title),
            text=TextBody.of(message.text),
            fired_at=alert.fired_at,
            resolved_at=alert.resolved_at,
            resolution=alert.resolution,
            resolved_value=alert.resolved_value,
            acknowledged_at=alert.acknowledged_at,
            acknowledged_by=alert.acknowledged_by,
            note=alert.note,
            correlation_id=alert.cause.correlation_id,
            version=alert.version,
        )


class AcknowledgementBody(Body):
    """Who takes an alert may say why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "I call them today."}]})

    note: ShortText | None = None


@router.get("/alerts")
async def read_all(
    request: Request,
    response: Response,
    wanted: Annotated[AlertFilters, Query()],
    principal: CurrentPrincipal,
    context: CurrentContext,
) -> Page[AlertAnswer]:
    """List the alerts that the caller may see, the newest first."""
    after = read_position(request, wanted.cursor, wanted, tuple[UUID])
    async with context.database.transaction() as tx:
        among = [await alerts_seen(tx, principal), *_filters(wanted)]
        alerts = await alert_store.page(tx, among, after[0] if after else None, wanted.limit + 1)
        rules = await rule_store.named(tx, {alert.rule_id for alert in alerts})
    shown = await _answers(context, alerts[: wanted.limit], rules)
    following = [alerts[wanted.limit - 1].id] if len(alerts) > wanted.limit else None
    return page_response(request, response, shown, following, wanted)


@router.get("/alerts/{alert_id}")
async def read(alert_id: UUID, principal: CurrentPrincipal, context: CurrentContext) -> AlertAnswer:
    """Read one alert."""
    async with context.database.transaction() as tx:
        alert = await alert_store.find(tx, alert_id, await alerts_seen(tx, principal))
        if alert is None:
            raise not_found("alert")
        rules = await rule_store.named(tx, {alert.rule_id})
    return (await _answers(context, [alert], rules))[0]


@router.post("/alerts/{alert_id}/acknowledgements", status_code=201, response_model=AlertAnswer)
async def acknowledge_alert(
    alert_id: UUID,
    once: Idempotent,
    principal: CurrentPrincipal,
    context: CurrentContext,
    body: AcknowledgementBody | None = None,
) -> Response:
    """Take an alert; one about an event resolves with it, one about a value when the value has recovered."""
    async with context.database.transaction() as looking:
        known = await alert_store.named(looking, [alert_id])
    names = await context.names.of({one for alert in known.values() for one in references(alert.subject)})

    async def work(tx: AsyncConnection) -> Reply:
        alert = await acknowledge(tx, alert_id, principal, body.note if body else None, context.alerting)
        if alert is None:
            raise not_found("alert")
        rules = await rule_store.named(tx, {alert.rule_id})
        return Reply(201, _answer(alert, rules[alert.rule_id], names))

    return await once.run(context.database, work)


def _filters(wanted: AlertFilters) -> list[ColumnElement[bool]]:
    asked = {
        ALERT.c.state: wanted.state,
        ALERT.c.rule_id: wanted.rule_id,
        ALERT.c.severity: wanted.severity,
        ALERT.c.correlation_id: wanted.correlation_id,
    }
    return [column == value for column, value in asked.items() if value is not None]


async def _answers(context: Context, alerts: Sequence[Alert], rules: dict[UUID, Rule]) -> list[AlertAnswer]:
    names = await context.names.of({one for alert in alerts for one in references(alert.subject)})
    return [_answer(alert, rules[alert.rule_id], names) for alert in alerts]


def _answer(alert: Alert, rule: Rule, names: NameOf) -> AlertAnswer:
    transition: TransitionName = "fired" if alert.state == "firing" else "resolved"
    return AlertAnswer.of(alert, rule, render(alert, rule.name, transition, names))

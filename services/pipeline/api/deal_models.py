"""The request and response bodies of deals."""

from datetime import date
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, model_validator

from services.pipeline.domain.deal import Deal
from services.pipeline.domain.process import Process
from services.pipeline.store.owners import Owner
from services.pipeline.use_cases.deals import OwnerName
from shared.events.pipeline import DealStatus, StageKind
from shared.money import to_text
from shared.web.models import (
    LARGEST_SAFE,
    Answer,
    Body,
    Code,
    ExternalId,
    IsoDate,
    MoneyBody,
    NamesBody,
    Rfc3339,
    ShortText,
    StrictBool,
    StrictInt,
    refused,
)

FieldName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


def _as_it_is(value: object) -> object:
    # Of the union below, the float would take what is too large for the integer, and round it.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST_SAFE:
        raise refused(
            "too_large", {"zh": f"整数应不超过 ±{LARGEST_SAFE}", "en": f"an integer must be within ±{LARGEST_SAFE}"}
        )
    if not isinstance(value, bool | int | float | str | None):
        raise refused(
            "wrong_type",
            {"zh": "应为文本、数字、true、false 或 null", "en": "must be a text, a number, true, false or null"},
        )
    return value


FieldValue = Annotated[
    StrictBool | StrictInt | Annotated[float, Strict()] | Annotated[str, StringConstraints(max_length=2000)] | None,
    BeforeValidator(_as_it_is),
]
FreeFields = Annotated[dict[FieldName, FieldValue], Field(max_length=100)]
ClassText = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _is_not_blank(text: str) -> str:
    if not text.strip():
        raise refused("blank", {"zh": "不能只有空白字符", "en": "must not be blank"})
    return text


# Blanks would satisfy the rule that a lost deal has a reason, and tell nobody anything.
LostReason = Annotated[ClassText, AfterValidator(_is_not_blank)]


class OwnerBody(Body):
    """An owner, by the person's id or by an external id that may not be known yet: one of both."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"external_id": "anna.snelling"}]})

    person_id: UUID | None = None
    external_id: ExternalId | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.person_id is None) == (self.external_id is None):
            raise refused(
                "one_of", {"zh": "person_id 与 external_id 二选一", "en": "give one of person_id and external_id"}
            )
        return self

    def to_name(self) -> OwnerName:
        return OwnerName(self.person_id, self.external_id)


class DealAmount(MoneyBody):
    """The amount of a deal: money that is not negative."""

    @model_validator(mode="after")
    def _is_not_negative(self) -> Self:
        if self.to_money().minor < 0:
            raise refused("too_small", {"zh": "金额不能为负", "en": "an amount cannot be negative"})
        return self


class _DealFieldsBody(Body):
    customer_id: UUID | None = None
    owner: OwnerBody | None = None
    amount: DealAmount | None = None
    expected_close_on: IsoDate | None = None
    external_id: ExternalId | None = None
    product: ClassText | None = None
    source: ClassText | None = None
    fields: FreeFields = Field(default_factory=dict)


class DealBody(_DealFieldsBody):
    """A new deal; the owner is the caller where none is named."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Pumps for the harbour",
                    "process": "standard",
                    "owner": {"external_id": "anna.snelling"},
                    "amount": {"amount": "128000.00", "currency": "CNY"},
                    "expected_close_on": "2026-12-31",
                    "product": "GTX Pro",
                    "source": "referral",
                    "fields": {"needs": "two pumps before spring"},
                }
            ]
        }
    )

    name: ShortText
    process: Code = "standard"


class DealPatch(_DealFieldsBody):
    """Changes of a deal: absent fields stay, null takes a value away; in `fields` too."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"amount": {"amount": "99000.00", "currency": "CNY"}, "fields": {"fit_score": 72}}]
        }
    )

    name: ShortText = ""
    lost_reason: LostReason | None = None


class OwnerAnswer(Answer):
    """An owner by both ids, as far as they are known; `resolved` when goals has announced the person."""

    person_id: UUID | None
    external_id: str | None
    resolved: bool


class StageAnswer(Answer):
    """A stage as it stands in the deal's process."""

    code: str
    name: NamesBody
    kind: StageKind
    order: int


class DealAnswer(Answer):
    """A deal."""

    id: UUID
    name: str
    process: str
    process_version: int
    stage: StageAnswer
    status: DealStatus
    owner: OwnerAnswer | None
    customer_id: UUID | None
    amount: MoneyBody | None
    expected_close_on: date | None
    external_id: str | None
    product: str | None
    source: str | None
    lost_reason: str | None
    fields: dict[str, Any]
    stage_entered_at: Rfc3339 | None
    sla_due_at: Rfc3339 | None
    sla_breached: bool
    created_at: Rfc3339
    updated_at: Rfc3339
    closed_at: Rfc3339 | None
    version: int

    @classmethod
    def of(cls, deal: Deal, process: Process, owner: Owner | None) -> Self:
        return cls.model_validate(deal_document(deal, process, owner))


def deal_document(deal: Deal, process: Process, owner: Owner | None) -> dict[str, object]:
    """Return what DealAnswer says of a deal, for the encoder of the hot route: a model costs ten times as much."""
    place = deal.stage
    name = process.by_code[place.code].name
    return {
        "id": deal.id,
        "name": deal.name,
        "process": deal.process,
        "process_version": deal.process_version,
        "stage": {
            "code": place.code,
            "name": {"zh": name.zh, "en": name.en},
            "kind": place.kind,
            "order": place.order,
        },
        "status": deal.status,
        "owner": None if owner is None else owner._asdict(),
        "customer_id": deal.customer_id,
        "amount": _amount(deal),
        "expected_close_on": deal.expected_close_on,
        "external_id": deal.external_id,
        "product": deal.product,
        "source": deal.source,
        "lost_reason": deal.lost_reason,
        "fields": deal.fields,
        "stage_entered_at": deal.stage_entered_at,
        "sla_due_at": deal.sla_due_at,
        "sla_breached": deal.sla_breached,
        "created_at": deal.created_at,
        "updated_at": deal.updated_at,
        "closed_at": deal.closed_at,
        "version": deal.version,
    }


def _amount(deal: Deal) -> dict[str, str] | None:
    if deal.amount is None or deal.currency is None:
        return None
    return {"amount": to_text(deal.amount, deal.currency), "currency": deal.currency}


def owner_answer(owner: Owner | None) -> OwnerAnswer | None:
    """Return an owner as clients read one."""
    return None if owner is None else OwnerAnswer(**owner._asdict())

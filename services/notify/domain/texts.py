"""What an alert says in Chinese and English; names come from outside, an id stands where there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from services.notify.domain.alert import Alert, DealSubject, GoalSubject, KpiSubject, Subject, TransitionName
from services.notify.domain.wording import ASIDES, DEALS, GOALS, LABELLED, LABELS, OPERATORS, RECOVERED, VALUES
from shared.events.base import Names
from shared.events.kpi import Unit
from shared.language import Language

NameOf = Mapping[str, Names]


@dataclass(frozen=True, slots=True)
class Message:
    """A title and a text, each in two languages."""

    title: Names
    text: Names


def references(subject: Subject) -> tuple[str, ...]:
    """Return what a text needs names of: `deal:ID`, `person:KEY`, `kpi:KEY`, `stage:PROCESS/CODE`."""
    if isinstance(subject, KpiSubject):
        return (f"kpi:{subject.kpi}", subject.scope)
    if isinstance(subject, GoalSubject):
        person = (f"person:{subject.person_id}",) if subject.person_id else ()
        return (f"goal:{subject.goal_id}", f"kpi:{subject.kpi}", subject.scope, *person)
    wanted = [f"deal:{subject.deal_id}", f"stage:{subject.process}/{subject.stage}"]
    wanted += [f"customer:{subject.customer_id}"] if subject.customer_id else []
    wanted += [f"person:{subject.owner}"] if subject.owner else []
    return tuple(wanted)


def render(alert: Alert, rule_name: str | Names, transition: TransitionName, names: NameOf) -> Message:
    """Return what `transition` of an alert says; `names` are those of `references`."""
    zh = _render(alert, rule_name, transition, names, "zh")
    en = _render(alert, rule_name, transition, names, "en")
    return Message(Names(zh[0], en[0]), Names(zh[1], en[1]))


def _render(
    alert: Alert, rule_name: str | Names, transition: TransitionName, names: NameOf, language: Language
) -> tuple[str, str]:
    subject = alert.subject
    fields = {**_fields(alert, names, language), "rule": _in(language, rule_name)}
    title = _in(language, _title(alert, transition)).format_map(fields)
    if transition == "resolved" and not isinstance(subject, KpiSubject):
        title = _in(language, RECOVERED).format(title=title)
    template, comma = LABELLED[language]
    asides = ASIDES[str(subject.__struct_config__.tag)]
    told = (template.format(label=_in(language, LABELS[key]), value=fields[key]) for key in asides if fields.get(key))
    return title, comma.join(told)


def _in(language: Language, text: str | Names) -> str:
    if isinstance(text, str):
        return text
    return text.zh if language == "zh" else text.en


def _title(alert: Alert, transition: TransitionName) -> Names:
    subject = alert.subject
    if isinstance(subject, KpiSubject):
        if transition == "fired":
            return VALUES["fired"]
        return VALUES["resolved" if alert.resolved_value else "ended"]
    return DEALS[subject.event] if isinstance(subject, DealSubject) else GOALS[subject.event]


def _fields(alert: Alert, names: NameOf, language: Language) -> dict[str, str]:
    subject = alert.subject
    if isinstance(subject, KpiSubject):
        return _value_fields(alert, subject, names, language)
    if isinstance(subject, DealSubject):
        return _deal_fields(subject, names, language)
    if isinstance(subject, GoalSubject):
        return _goal_fields(subject, names, language)
    assert_never(subject)


def _value_fields(alert: Alert, subject: KpiSubject, names: NameOf, language: Language) -> dict[str, str]:
    return {
        "kpi": name_of(f"kpi:{subject.kpi}", names, language),
        "scope": name_of(subject.scope, names, language),
        "value": figure(subject.value, subject.unit, subject.currency),
        "back": figure(alert.resolved_value, subject.unit, subject.currency),
        "operator": _in(language, OPERATORS[subject.op]),
        "threshold": figure(subject.threshold, subject.unit, subject.currency),
        "period": f"{subject.period_start} – {subject.period_end}",
        "sample_size": str(subject.sample_size),
    }


def _deal_fields(subject: DealSubject, names: NameOf, language: Language) -> dict[str, str]:
    return {
        "deal": name_of(f"deal:{subject.deal_id}", names, language),
        "stage": name_of(f"stage:{subject.process}/{subject.stage}", names, language),
        "customer": name_of(f"customer:{subject.customer_id}", names, language) if subject.customer_id else "",
        "owner": name_of(f"person:{subject.owner}", names, language) if subject.owner else "",
        "amount": f"{subject.amount} {subject.currency}" if subject.amount else "",
        "reason": subject.lost_reason or "",
        "broke": ", ".join(subject.broke),
    }


def _goal_fields(subject: GoalSubject, names: NameOf, language: Language) -> dict[str, str]:
    whose = f"person:{subject.person_id}" if subject.person_id else subject.scope
    return {
        "goal": name_of(f"goal:{subject.goal_id}", names, language),
        "whose": name_of(whose, names, language),
        "kpi": name_of(f"kpi:{subject.kpi}", names, language),
        "result": subject.value or "",
        "target": f"{subject.target} {subject.currency or ''}".strip(),
        "attainment": figure(subject.attainment, "ratio", None) if subject.attainment else "",
        "period": f"{subject.period_start} – {subject.period_end}",
    }


def name_of(reference: str, names: NameOf, language: Language) -> str:
    """Return the name of a thing, or its id where nobody told one."""
    if reference == "org":
        return "全公司" if language == "zh" else "the organisation"
    known = names.get(reference)
    return _in(language, known) if known else reference.replace("/", ":").rpartition(":")[2]


def figure(value: str | None, unit: Unit, currency: str | None) -> str:
    """Return a KPI value as people read it: `42.5 %`, `1200.00 CNY`, `3.2 d`."""
    if value is None:
        return "-"
    if unit == "ratio":
        return f"{Decimal(value) * 100:.1f} %"
    if unit == "seconds":
        return f"{Decimal(value) / 86400:.1f} d"
    return f"{value} {currency}" if unit == "money" and currency else value

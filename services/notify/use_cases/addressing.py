"""Finds the person who is told of an alert, for many alerts at once."""

from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.addressees import Team, manager_of
from services.notify.domain.alert import Alert
from services.notify.domain.rule import Addressed, Addressee
from services.notify.store import addressees
from services.notify.store.addressees import KnownPerson


async def recipients(tx: AsyncConnection, wanted: Sequence[tuple[Alert, Addressed]], day: date) -> Mapping[UUID, str]:
    """Return the owner key of the person to tell, by alert id; nobody where there is no such person."""
    if not wanted:
        return {}
    keys = {key for alert, to in wanted if (key := _key(alert, to))}
    people = await addressees.people(tx, keys, day)
    teams = await addressees.teams(tx)
    found = {alert.id: _recipient(alert, to, people, teams) for alert, to in wanted}
    return {alert_id: recipient for alert_id, recipient in found.items() if recipient}


def _key(alert: Alert, to: Addressed) -> str | None:
    if not isinstance(to, Addressee):
        return alert.owner
    return str(to.person_id) if to.person_id else f"external:{to.external_id}"


def _recipient(
    alert: Alert, to: Addressed, people: Mapping[str, KnownPerson], teams: Mapping[UUID, Team]
) -> str | None:
    key = _key(alert, to)
    person = people.get(key or "")
    if key is None:
        return _text(manager_of(_team(alert.scope), teams))
    if to == "manager":
        return _text(manager_of(person.team_id, teams, person.id)) if person else None
    return str(person.id) if person else key


def _team(scope: str) -> UUID | None:
    kind, _, name = scope.partition(":")
    return UUID(name) if kind == "team" else None


def _text(person_id: UUID | None) -> str | None:
    return None if person_id is None else str(person_id)

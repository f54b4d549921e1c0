"""Keys as each service verifies them, from its own directory."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.auth import api_keys
from shared.auth.api_keys import CACHED_KEYS, CACHED_SECONDS, ApiKeys, hash_of, key_text, new_secret, within
from shared.auth.authenticator import SERVICE, Authenticator
from shared.auth.development_issuer import DevelopmentIssuer
from shared.auth.directory_updates import apply_api_keys
from shared.auth.principal import Principal
from shared.auth.refusal import TokenRefused
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.platform import new_metadata
from shared.events.goals import ApiKeyChanged

NOW = utc_now()
SERVICE_TOKEN = "s" * 40


@dataclass
class Told:
    event: ApiKeyChanged


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    opened = Database(empty_database(), "toy", pool_size=2)
    async with opened.transaction() as tx:
        await tx.run_sync(new_metadata().create_all)
    yield opened
    await opened.close()


@pytest.fixture
def keys(database: Database, clock: Clock) -> ApiKeys:
    return ApiKeys(database, clock)


def changed(secret: str, version: int = 1, *, key_id: UUID | None = None, **more: object) -> ApiKeyChanged:
    told = {"role": "rep", "person": "anna", "scopes": ("pipeline:write",), **more}
    return ApiKeyChanged(version=version, recorded_at=NOW, key_id=key_id or uuid4(), hash=hash_of(secret), **told)  # type: ignore[arg-type]


async def tell(database: Database, *events: ApiKeyChanged) -> None:
    async with database.transaction() as tx:
        await apply_api_keys(tx, [Told(event) for event in events])


async def test_a_key_speaks_for_what_the_directory_says(database: Database, keys: ApiKeys) -> None:
    secret = new_secret()
    event = changed(secret)
    text = key_text(event.key_id, secret)
    with pytest.raises(TokenRefused):
        await keys.admit(text)
    await tell(database, event)
    assert keys.known(text) is None
    expected = Principal(f"api-key:{event.key_id}", "rep", "anna", frozenset({"pipeline:write"}))
    assert await keys.admit(text) == expected
    assert keys.known(text) == expected


async def test_another_secret_proves_nothing(database: Database, keys: ApiKeys) -> None:
    secret, other = new_secret(), new_secret()
    event = changed(secret)
    await tell(database, event, changed(other))
    for wrong in (other, secret[:-1], secret + "x", "", event.hash):
        with pytest.raises(TokenRefused) as refused:
            await keys.admit(key_text(event.key_id, wrong))
        assert not wrong or wrong not in str(refused.value)


async def test_a_key_taken_back_ends_with_the_cache(database: Database, keys: ApiKeys, clock: Clock) -> None:
    secret = new_secret()
    event = changed(secret)
    text = key_text(event.key_id, secret)
    await tell(database, event)
    await keys.admit(text)
    await tell(database, changed(secret, 2, key_id=event.key_id, deleted=True))
    assert keys.known(text), "for a moment"
    clock.now += timedelta(seconds=CACHED_SECONDS)
    assert keys.known(text) is None
    with pytest.raises(TokenRefused):
        await keys.admit(text)


async def test_a_key_ends_to_the_instant(database: Database, keys: ApiKeys, clock: Clock) -> None:
    secret = new_secret()
    event = changed(secret, expires_at=NOW + timedelta(seconds=1))
    text = key_text(event.key_id, secret)
    await tell(database, event)
    await keys.admit(text)
    clock.now += timedelta(seconds=1)
    assert keys.known(text) is None
    with pytest.raises(TokenRefused):
        await keys.admit(text)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 3)])
@pytest.mark.parametrize("batched", [True, False])
async def test_the_newest_version_wins_in_any_order(
    database: Database, keys: ApiKeys, order: Sequence[int], *, batched: bool
) -> None:
    secret, key_id = new_secret(), uuid4()
    events = [changed(secret, version, key_id=key_id, person=f"p{version}", deleted=version == 2) for version in order]
    if batched:
        await tell(database, *events)
    else:
        for event in events:
            await tell(database, event)
    assert (await keys.admit(key_text(key_id, secret))).person == "p3"


async def test_uses_are_taken_once_and_given_back(database: Database, keys: ApiKeys, clock: Clock) -> None:
    secret = new_secret()
    event = changed(secret)
    text = key_text(event.key_id, secret)
    await tell(database, event)
    await keys.admit(text)
    clock.now += timedelta(seconds=1)
    assert keys.known(text)
    taken = keys.take_uses()
    assert taken == {event.key_id: clock.now}
    assert keys.take_uses() == {}
    clock.now += timedelta(milliseconds=500)
    keys.known(text)
    keys.give_back(taken)
    assert keys.take_uses() == {event.key_id: clock.now}, "the newer one wins"


async def test_the_cache_is_bounded(database: Database, keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CACHED_KEYS >= 1000
    monkeypatch.setattr(api_keys, "CACHED_KEYS", 3)
    made = [(changed(secret), secret) for secret in (new_secret() for _ in range(5))]
    await tell(database, *(event for event, _ in made))
    texts = [key_text(event.key_id, secret) for event, secret in made]
    for text in texts:
        await keys.admit(text)
    assert [keys.known(text) is not None for text in texts] == [False, False, True, True, True]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.uuids().map(lambda made: f"{made.hex}_x") | st.just("0" * 32 + "_\ud800"))
async def test_no_text_makes_the_directory_fail_otherwise(keys: ApiKeys, text: str) -> None:
    with pytest.raises(TokenRefused):
        await keys.admit("sg_" + text)


async def test_three_kinds_of_tokens_behind_one_door(database: Database, keys: ApiKeys) -> None:
    issuer = DevelopmentIssuer.create()
    door = Authenticator(issuer.verifier(), keys, SERVICE_TOKEN)
    secret = new_secret()
    event = changed(secret)
    await tell(database, event)
    assert await door.admit(SERVICE_TOKEN) == SERVICE
    assert (await door.admit(issuer.token("manager", "rita"))).role == "manager"
    assert (await door.admit(key_text(event.key_id, secret))).scopes == {"pipeline:write"}
    for wrong in (SERVICE_TOKEN[:-1], SERVICE_TOKEN + "s", "", "é" * 40, "\udcff"):
        with pytest.raises(TokenRefused):
            await door.admit(wrong)
    with pytest.raises(TokenRefused):
        await Authenticator(issuer.verifier(), keys).admit(SERVICE_TOKEN)


def test_who_may_write_may_read() -> None:
    assert within({"kpi:read"}, "kpi", writes=False)
    assert not within({"kpi:read"}, "kpi", writes=True)
    assert within({"kpi:write"}, "kpi", writes=False)
    assert within({"kpi:write"}, "kpi", writes=True)
    assert not within({"goals:write", "kp", "kpi:"}, "kpi", writes=False)

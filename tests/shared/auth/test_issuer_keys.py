"""The key set of an OIDC issuer, from a real one over HTTP: found, rotated, kept through outages, never hammered."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import OctKey

from shared.auth import issuer_keys
from shared.auth.issuer_keys import COOLDOWN_SECONDS, FRESH_SECONDS, KEPT_SECONDS, IssuerKeys
from shared.auth.principal import Principal
from shared.auth.tokens import TokenRefused, TokenVerifier
from shared.clock import utc_now
from shared.http_client import HttpClient
from tests.shared.auth.issuer import AUDIENCE, Issuer, issuing, new_key


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as serving:
        yield serving


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


@pytest.fixture
def verifier(issuer: Issuer, http: HttpClient, clock: Clock) -> TokenVerifier:
    return TokenVerifier(IssuerKeys(http, issuer.url, clock=clock), issuer.url, AUDIENCE, clock=clock)


async def refused(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(TokenRefused):
        await verifier.admit(token)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for the background to have done something."""
    async with asyncio.timeout(30):
        while not happened():  # noqa: ASYNC110 - what is awaited knows nothing of events
            await asyncio.sleep(0.01)


async def test_the_keys_are_discovered_once_and_a_known_token_asks_nobody(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    token = issuer.token(clock())
    assert verifier.known(token) is None
    admitted = await asyncio.gather(*(verifier.admit(token) for _ in range(20)))
    assert set(admitted) == {Principal("u1", "admin")}
    assert sum(issuer.asked.values()) == 2, "one discovery and one key set, however many ask at once"
    assert verifier.known(token) == Principal("u1", "admin")
    assert sum(issuer.asked.values()) == 2


async def test_a_given_url_needs_no_discovery(issuer: Issuer, http: HttpClient, clock: Clock) -> None:
    keys = IssuerKeys(http, issuer.url, f"http://127.0.0.1:{issuer.port}/keys", clock=clock)
    verifier = TokenVerifier(keys, issuer.url, AUDIENCE, clock=clock)
    assert (await verifier.admit(issuer.token(clock()))).is_admin
    assert set(issuer.asked) == {"/keys"}


async def test_a_new_key_is_fetched_and_a_removed_one_is_honoured_no_longer(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    old = issuer.token(clock())
    await verifier.admit(old)
    issuer.keys = [new_key("two")]
    clock.advance(COOLDOWN_SECONDS)
    assert verifier.known(old), "nobody has told us yet"
    assert (await verifier.admit(issuer.token(clock()))).is_admin
    assert verifier.known(old) is None
    await refused(verifier, old)


async def test_a_key_is_dropped_by_the_refresh_in_the_background_alone(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    token = issuer.token(clock(), exp=int(clock().timestamp()) + 3600)
    await verifier.admit(token)
    issuer.keys = [new_key("two")]
    clock.advance(FRESH_SECONDS)
    assert verifier.known(token), "the request that finds the keys old does not wait for the new ones"
    await until(lambda: verifier.known(token) is None)
    await refused(verifier, token)
    assert issuer.fetches == 2


async def test_the_same_keys_again_forget_no_token(verifier: TokenVerifier, issuer: Issuer, clock: Clock) -> None:
    token = issuer.token(clock(), exp=int(clock().timestamp()) + 3600)
    first = await verifier.admit(token)
    clock.advance(FRESH_SECONDS)
    assert verifier.known(token) is first
    await until(lambda: issuer.fetches == 2)
    await asyncio.sleep(0)
    assert verifier.known(token) is first


async def test_an_issuer_that_is_down_leaves_the_last_good_set_for_a_day(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    await verifier.admit(issuer.token(clock()))
    for trouble in (503, 200):
        issuer.status, issuer.raw = trouble, b"{" if trouble == 200 else None
        clock.advance(KEPT_SECONDS / 4)
        before = sum(issuer.asked.values())
        assert (await verifier.admit(issuer.token(clock()))).is_admin
        await until(lambda before=before: sum(issuer.asked.values()) > before)
    clock.advance(KEPT_SECONDS / 2)
    await refused(verifier, issuer.token(clock()))
    issuer.status, issuer.raw = 200, None
    clock.advance(COOLDOWN_SECONDS)
    assert (await verifier.admit(issuer.token(clock()))).is_admin


async def test_a_storm_of_unknown_key_ids_asks_once_per_pause(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    await verifier.admit(issuer.token(clock()))
    for storm in range(3):
        clock.advance(COOLDOWN_SECONDS)
        strangers = [issuer.token(clock(), key=new_key(f"stranger-{storm}-{n}")) for n in range(30)]
        await asyncio.gather(*(refused(verifier, token) for token in strangers))
        assert issuer.fetches == 2 + storm
    assert (await verifier.admit(issuer.token(clock()))).is_admin
    assert issuer.fetches == 4


@pytest.mark.parametrize("wrong", ["issuer", "jwks_uri", "empty", "symmetric"])
async def test_documents_that_prove_nothing_are_refused(
    wrong: str, verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    match wrong:
        case "issuer":
            issuer.issuer = issuer.url + "/"
        case "jwks_uri":
            issuer.jwks_uri = "file:///keys"
        case "empty":
            issuer.keys = []
        case "symmetric":
            issuer.more = [dict(OctKey.import_key("s" * 32, {"kid": "oct"}).as_dict(private=True))]
            issuer.keys = []
    await refused(verifier, issuer.token(clock(), key=new_key("one")))
    assert verifier.issuer_keys is not None
    reason = await verifier.issuer_keys.check()
    assert reason is not None
    assert issuer.url in reason


async def test_keys_that_cannot_verify_do_not_spoil_the_others(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    secret = OctKey.import_key("s" * 32, {"kid": "oct"})
    issuer.more = [
        {"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "EC", "kid": "broken", "crv": "P-256"},
        {**new_key("encrypts").as_dict(private=False), "use": "enc"},
        dict(secret.as_dict(private=True)),
        "nonsense",  # type: ignore[list-item]
    ]
    assert (await verifier.admit(issuer.token(clock()))).is_admin
    await refused(verifier, issuer.token(clock(), key=secret, algorithm="HS256"))
    public = OctKey.import_key(json.dumps(issuer.keys[0].as_dict(private=False)), {"kid": "one"})
    await refused(verifier, issuer.token(clock(), key=public, algorithm="HS256"))


async def test_sixty_seconds_of_skew_between_us_and_the_issuer(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    now = int(clock().timestamp())
    assert (await verifier.admit(issuer.token(clock(), nbf=now + 58))).is_admin
    assert (await verifier.admit(issuer.token(clock(), exp=now - 58))).is_admin
    await refused(verifier, issuer.token(clock(), nbf=now + 63))
    await refused(verifier, issuer.token(clock(), exp=now - 62))


async def test_an_issuer_that_hangs_costs_a_bounded_time_and_one_hang_up_hurts_nobody_else(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.answering.clear()
    token = issuer.token(clock())
    first, second = (asyncio.create_task(verifier.admit(token)) for _ in range(2))
    await until(lambda: sum(issuer.asked.values()) == 1)
    first.cancel()
    issuer.answering.set()
    assert (await second).is_admin

    monkeypatch.setattr(issuer_keys, "FETCH_SECONDS", 0.2)
    issuer.answering.clear()
    clock.advance(COOLDOWN_SECONDS)
    async with asyncio.timeout(30):
        await refused(verifier, issuer.token(clock(), key=new_key("unknown")))
    assert verifier.known(token) or await verifier.admit(token)


async def test_readiness_says_what_is_missing_and_asks_by_itself(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    assert verifier.issuer_keys is not None
    issuer.status = 503
    reason = await verifier.issuer_keys.check()
    assert reason is not None
    assert "503" in reason
    issuer.status = 200
    clock.advance(issuer_keys.FIRST_COOLDOWN_SECONDS)
    assert await verifier.issuer_keys.check() is None
    issuer.status = 503
    clock.advance(FRESH_SECONDS)
    assert await verifier.issuer_keys.check() is None, "old keys are keys"


async def test_a_protected_issuer_may_not_send_us_to_an_unprotected_key_set(clock: Clock) -> None:
    asked: list[str] = []

    async def issuer(scope: Any, _receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        document = {"issuer": "https://issuer.example", "jwks_uri": "http://issuer.example/keys"}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})

    client = HttpClient(app=issuer)
    reason = await IssuerKeys(client, "https://issuer.example", clock=clock).check()
    await client.close()
    assert reason is not None
    assert "unprotected" in reason
    assert asked == [issuer_keys.DISCOVERY]

import base64
import json
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from shared.auth.development_issuer import DevelopmentIssuer, DevelopmentIssuerRefused
from shared.auth.principal import Principal
from shared.auth.tokens import REMEMBERED, TokenRefused, TokenVerifier
from shared.clock import utc_now

ISSUER, AUDIENCE = "https://issuer.example", "salesgrain"
EC = ECKey.generate_key("P-256", {"kid": "ec"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
KEYS: dict[str, Any] = {"keys": [key.as_dict(private=False) for key in (EC, RSA, ED)]}


class Ticking:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> Any:
        return utc_now() + self.ahead


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def verifier(clock: Ticking) -> TokenVerifier:
    return TokenVerifier(KEYS, ISSUER, AUDIENCE, clock=clock)


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "role": "rep", "person": "p1", "exp": now + 3600}
    return {name: value for name, value in {**told, **changed}.items() if value is not ...}


def signed(key: Any = EC, algorithm: str = "ES256", **changed: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode({"alg": algorithm, "kid": key.kid}, claims(**changed), key, algorithms=[algorithm])


@pytest.mark.parametrize(("key", "algorithm"), [(EC, "ES256"), (RSA, "RS256"), (ED, "EdDSA")])
def test_every_allowed_algorithm_is_verified(verifier: TokenVerifier, key: Any, algorithm: str) -> None:
    assert verifier.verify(signed(key, algorithm)) == Principal("u1", "rep", "p1")


def test_the_highest_role_wins(verifier: TokenVerifier) -> None:
    assert verifier.verify(signed(roles=["rep", "manager", "cook"], role=...)).role == "manager"
    assert verifier.verify(signed(roles=["admin"], role="rep")).role == "admin"
    assert verifier.verify(signed(aud=["other", AUDIENCE], person=...)).person is None


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere"}, {"iss": ...}, {"aud": "other"}, {"aud": ...}, {"sub": ...}, {"exp": ...},
        {"exp": int(time.time()) - 61}, {"exp": "tomorrow"}, {"nbf": int(time.time()) + 3600},
        {"role": "king"}, {"role": ...}, {"roles": "admin", "role": ...}, {"sub": ""}, {"sub": 7}, {"sub": "a\x00b"},
        {"sub": "s" * 256}, {"person": 7}, {"person": "a\nb"}, {"role": ["admin"]},
    ],
)  # fmt: skip
def test_claims_that_prove_nothing_are_refused(verifier: TokenVerifier, changed: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        verifier.verify(signed(**changed))


def test_sixty_seconds_of_clock_skew_are_forgiven(verifier: TokenVerifier) -> None:
    now = int(time.time())
    assert verifier.verify(signed(exp=now - 30)).subject == "u1"
    assert verifier.verify(signed(nbf=now + 30)).subject == "u1"


def test_a_remembered_token_ends_with_its_life(verifier: TokenVerifier, clock: Ticking) -> None:
    token = signed(exp=int(time.time()) + 100)
    assert verifier.verify(token) is verifier.verify(token)
    clock.ahead = timedelta(seconds=161)
    with pytest.raises(TokenRefused):
        verifier.verify(token)


def test_the_memory_of_tokens_is_bounded(clock: Ticking) -> None:
    issuer = DevelopmentIssuer.create()
    verifier = issuer.verifier()
    first = issuer.token("rep", "p0")
    known = verifier.verify(first)
    for number in range(REMEMBERED):
        verifier._remember(str(number), clock().timestamp() + 60, known)
    assert len(verifier._remembered) == REMEMBERED
    assert verifier.verify(first) == known


def test_confused_algorithms_are_refused(verifier: TokenVerifier) -> None:
    secret = OctKey.import_key(json.dumps(KEYS["keys"][0]))
    forged = jwt.encode({"alg": "HS256", "kid": "ec"}, claims(role="admin"), secret, algorithms=["HS256"])
    body = base64.urlsafe_b64encode(json.dumps(claims(role="admin")).encode()).rstrip(b"=").decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode() + f".{body}."
    stranger = signed(ECKey.generate_key("P-256", {"kid": "ec"}))
    unknown = signed(ECKey.generate_key("P-256", {"kid": "other"}))
    head, _, signature = signed().split(".")
    for token in (forged, unsigned, stranger, unknown, f"{head}.{body}.{signature}", "", "a.b.c", "x" * 9000, "é.é.é"):
        with pytest.raises(TokenRefused):
            verifier.verify(token)


_VERIFIER = TokenVerifier(KEYS, ISSUER, AUDIENCE)
_parts = st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()), st.just("e30"))


@given(st.one_of(st.text(), st.builds(lambda *parts: ".".join(parts), _parts, _parts, _parts)))
def test_no_text_makes_the_verifier_fail_otherwise(token: str) -> None:
    with pytest.raises(TokenRefused):
        _VERIFIER.verify(token)


def test_a_key_file_is_read_again_for_a_new_key(tmp_path: Path, clock: Ticking) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [EC.as_dict(private=False)]}))
    verifier = TokenVerifier.from_file(file, ISSUER, AUDIENCE, clock=clock)
    old, new = signed(), signed(ED, "EdDSA")
    assert verifier.verify(old).subject == "u1"
    file.write_text(json.dumps({"keys": [ED.as_dict(private=False)]}))
    with pytest.raises(TokenRefused):
        verifier.verify(new)  # within the pause nothing is read: strangers' key ids must not make us read for ever
    clock.ahead = timedelta(seconds=31)
    assert verifier.verify(new).subject == "u1"
    with pytest.raises(TokenRefused):
        verifier.verify(old)


def test_a_broken_key_file_leaves_the_last_good_keys(tmp_path: Path, clock: Ticking) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(KeySet([EC]).as_dict(private=False)))
    verifier = TokenVerifier.from_file(file, ISSUER, AUDIENCE, clock=clock)
    file.write_text("{")
    clock.ahead = timedelta(seconds=31)
    with pytest.raises(TokenRefused):
        verifier.verify(signed(ED, "EdDSA"))
    assert verifier.verify(signed()).subject == "u1"


def test_the_development_issuer_keeps_its_key(tmp_path: Path) -> None:
    file = tmp_path / "data" / "issuer.jwk"
    token = DevelopmentIssuer.load_or_create(file).token("manager", "M-1")
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["issuer.jwk"]
    again = DevelopmentIssuer.load_or_create(file)
    assert again.verifier().verify(token) == Principal("manager:M-1", "manager", "M-1")
    assert "d" not in again.jwks()["keys"][0]
    with pytest.raises(TokenRefused):
        DevelopmentIssuer.create().verifier().verify(token)
    with pytest.raises(TokenRefused):
        again.verifier(audience="other").verify(token)


def test_the_development_issuer_refuses_production(tmp_path: Path) -> None:
    with pytest.raises(DevelopmentIssuerRefused):
        DevelopmentIssuer.load_or_create(tmp_path / "issuer.jwk", environment="production")
    assert not list(tmp_path.iterdir())


def test_skew_ends_at_a_minute(verifier: TokenVerifier) -> None:
    with pytest.raises(TokenRefused):
        verifier.verify(signed(nbf=int(time.time()) + 63))
    with pytest.raises(TokenRefused):
        verifier.verify(signed(exp=int(time.time()) - 61))

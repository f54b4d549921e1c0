"""Which settings lead to which keys."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.auth.opening import open_verifier
from shared.auth.principal import Principal
from shared.auth.tokens import TokenVerifier
from shared.clock import utc_now
from shared.http_client import HttpClient
from shared.settings import Settings
from tests.shared.auth.issuer import Issuer, issuing


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as serving:
        yield serving


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


def opened(http: HttpClient, **settings: Any) -> TokenVerifier:
    verifier = open_verifier(Settings.model_validate(settings), http)
    assert verifier is not None
    return verifier


async def test_the_issuer_is_asked_where_its_keys_are(http: HttpClient, issuer: Issuer) -> None:
    verifier = opened(
        http, auth_issuer=issuer.url, auth_roles_claim="realm_access.roles", auth_person_claim="employee.id"
    )
    assert not issuer.asked, "opening asks nobody"
    told = {"role": "admin", "realm_access": {"roles": ["offline_access", "rep"]}, "employee": {"id": "anna"}}
    assert await verifier.admit(issuer.token(utc_now(), **told)) == Principal("u1", "rep", "anna")


async def test_a_url_wins_over_discovery_and_a_file_over_both(http: HttpClient, issuer: Issuer, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{issuer.port}/keys"
    await opened(http, auth_issuer=issuer.url, auth_jwks_url=url).admit(issuer.token(utc_now()))
    assert set(issuer.asked) == {"/keys"}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in issuer.keys]}))
    verifier = opened(http, auth_issuer=issuer.url, auth_jwks_url=url, auth_jwks_file=file)
    assert (await verifier.admit(issuer.token(utc_now()))).is_admin
    assert issuer.fetches == 1


def test_a_name_that_is_no_url_leads_nowhere(http: HttpClient) -> None:
    assert open_verifier(Settings(), http) is None

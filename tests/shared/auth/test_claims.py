"""Roles and persons as different issuers tell them."""

from typing import Any

import pytest

from shared.auth.claims import ClaimPaths
from shared.auth.principal import Principal
from shared.auth.refusal import TokenRefused

KEYCLOAK = {"sub": "u1", "realm_access": {"roles": ["offline_access", "manager", "rep"]}, "employee": "M-1"}
ENTRA = {"sub": "u1", "roles": ["admin"]}
AUTH0 = {"sub": "u1", "https://sales.example/roles": ["rep"], "https://sales.example/person": "R-1"}


@pytest.mark.parametrize(
    ("paths", "claims", "principal"),
    [
        (ClaimPaths("realm_access.roles", "employee"), KEYCLOAK, Principal("u1", "manager", "M-1")),
        (ClaimPaths("roles"), ENTRA, Principal("u1", "admin")),
        (ClaimPaths(), ENTRA, Principal("u1", "admin")),
        (
            ClaimPaths("https://sales.example/roles", "https://sales.example/person"),
            AUTH0,
            Principal("u1", "rep", "R-1"),
        ),
        (ClaimPaths("a.b.c"), {"sub": "u1", "a": {"b": {"c": "rep"}}}, Principal("u1", "rep")),
    ],
)
def test_paths_find_claims(paths: ClaimPaths, claims: dict[str, Any], principal: Principal) -> None:
    assert paths.principal_of(claims) == principal


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access.roles", {"role": "admin", "roles": ["admin"]}),
        ("realm_access.roles", {"realm_access": "admin"}),
        ("realm_access.roles", {"realm_access": {"roles": {"admin": True}}}),
        ("realm_access.roles", {"realm_access": {"roles": None}}),
        ("realm_access.roles", {"realm_access": {"roles": [["admin"]]}}),
        ("roles.0", {"roles": ["admin"]}),
    ],
)
def test_a_role_that_stands_elsewhere_counts_for_nothing(path: str, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        ClaimPaths(path).principal_of({"sub": "u1", **claims})

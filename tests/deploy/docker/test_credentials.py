"""The secret files of docker-compose.yml: made once, closed to others, and good for what they are for."""

import json
import stat
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from deploy.docker.credentials import FOLDER_MODE, SERVICES, make_credentials, trial_token
from shared.auth.development_issuer import DevelopmentIssuerRefused
from shared.auth.tokens import TokenVerifier
from shared.settings import Settings

ISSUER, AUDIENCE = "salesgrain-development", "salesgrain"


def _settings(environment: str = "development") -> Settings:
    return Settings.model_validate({"environment": environment, "auth_issuer": ISSUER, "auth_audience": AUDIENCE})


def test_they_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = make_credentials(folder, "development")
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == set(first) - {"development-issuer.jwk"}
    (folder / "cursor_secret").unlink()
    assert make_credentials(folder, "development") == ["cursor_secret"]
    again = {path.name: path.read_text() for path in folder.iterdir()}
    assert again.pop("cursor_secret") != first.pop("cursor_secret")
    assert again == first


def test_the_folder_is_closed_and_the_containers_accounts_can_read_what_they_are_given(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_credentials(folder, "development")
    assert stat.S_IMODE(folder.stat().st_mode) == FOLDER_MODE
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    # The key that signs tokens goes into no container.
    assert modes.pop("development-issuer.jwk") == 0o600
    assert set(modes.values()) == {0o444}


def test_each_service_has_a_password_of_its_own_and_a_long_shared_token(tmp_path: Path) -> None:
    make_credentials(tmp_path, "development")
    passwords = {service: (tmp_path / f"{service}_database_password").read_text() for service in SERVICES}
    assert len(set(passwords.values())) == len(SERVICES)
    for service, password in passwords.items():
        url = make_url((tmp_path / f"{service}_database_url").read_text())
        assert (url.drivername, url.username, url.password) == ("postgresql+asyncpg", service, password)
        assert (url.host, url.database) == ("db", service)
    assert len((tmp_path / "service_token").read_text()) >= 32


def test_the_trials_tokens_are_taken_by_whoever_reads_its_key_set(tmp_path: Path) -> None:
    make_credentials(tmp_path, "development")
    verifier = TokenVerifier.from_file(tmp_path / "jwks.json", ISSUER, AUDIENCE)
    principal = verifier.verify(trial_token(tmp_path, "manager", "anna", _settings()))
    assert (principal.role, principal.person) == ("manager", "anna")


def test_production_has_no_issuer_of_its_own(tmp_path: Path) -> None:
    make_credentials(tmp_path, "production")
    assert json.loads((tmp_path / "jwks.json").read_text()) == {"keys": []}
    assert not (tmp_path / "development-issuer.jwk").exists()
    with pytest.raises(DevelopmentIssuerRefused):
        trial_token(tmp_path, "admin", None, _settings("production"))

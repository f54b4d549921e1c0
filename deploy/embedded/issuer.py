"""The development issuer of a data directory: who signs the tokens that its embedded mode takes."""

import hashlib
from pathlib import Path

from deploy.embedded.data_directory import make_data_directory
from shared.auth.development_issuer import DevelopmentIssuer
from shared.settings import Settings

ISSUER_KEY = "development-issuer.jwk"


def issuer_of(data_dir: Path, settings: Settings) -> DevelopmentIssuer:
    """Return the development issuer of a data directory, made at its first use; refused in production."""
    make_data_directory(data_dir)
    return DevelopmentIssuer.load_or_create(data_dir / ISSUER_KEY, environment=settings.environment)


def derived_secret(data_dir: Path, purpose: str) -> str:
    """Return a secret of a data directory: it outlives a restart, and none has to be kept beside the issuer's key."""
    return hashlib.sha256(purpose.encode() + (data_dir / ISSUER_KEY).read_bytes()).hexdigest()


def development_token(data_dir: Path, role: str, person: str | None = None) -> str:
    """Return a bearer token that the embedded mode of `data_dir` takes; raises DevelopmentIssuerRefused."""
    settings = Settings.from_environment()
    issuer = issuer_of(data_dir, settings)
    return issuer.token(role, person, issuer=settings.auth_issuer, audience=settings.auth_audience)

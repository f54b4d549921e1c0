"""Makes the secret files of docker-compose.yml once, and issues tokens for a trial without an OIDC issuer.

python -m deploy.docker.credentials make [FOLDER]
python -m deploy.docker.credentials token --role admin [--person ID] [FOLDER]
"""

import argparse
import json
import secrets
import sys
from pathlib import Path

from shared.auth.development_issuer import DevelopmentIssuer, DevelopmentIssuerRefused
from shared.settings import Settings

FOLDER = Path(__file__).parent / "secrets"
ISSUER_KEY = "development-issuer.jwk"
KEY_SET = "jwks.json"
SERVICES = ("pipeline", "kpi", "goals", "notify")
# Compose hands over a file with the owner and mode that it has on the host, and the containers run as other accounts:
# the folder keeps the files from everybody else on the host, not their modes.
FOLDER_MODE = 0o700
FILE_MODE = 0o444


def make_credentials(folder: Path, environment: str) -> list[str]:
    """Write every secret that is missing; return the names of those written. What is there is never changed.

    In production no issuer's key is made: `jwks.json` then has no keys, and tokens come from AUTH_ISSUER.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    made = [name for name in ("postgres_password", "service_token", "cursor_secret") if _make(folder / name, _random())]
    for service in SERVICES:
        password = folder / f"{service}_database_password"
        made += [password.name] if _make(password, _random()) else []
        url = folder / f"{service}_database_url"
        known = password.read_text(encoding="utf-8")
        made += [url.name] if _make(url, f"postgresql+asyncpg://{service}:{known}@db:5432/{service}") else []
    keys = {"keys": []} if environment == "production" else _issuer(folder, environment).jwks()
    return [*made, KEY_SET] if _make(folder / KEY_SET, json.dumps(keys)) else made


def trial_token(folder: Path, role: str, person: str | None, settings: Settings) -> str:
    """Return a bearer token signed with the trial's key; raises DevelopmentIssuerRefused in production."""
    issuer = _issuer(folder, settings.environment)
    return issuer.token(role, person, issuer=settings.auth_issuer, audience=settings.auth_audience)


def _issuer(folder: Path, environment: str) -> DevelopmentIssuer:
    return DevelopmentIssuer.load_or_create(folder / ISSUER_KEY, environment=environment)


def _random() -> str:
    # 256 bits, and safe within a URL: the passwords become part of one.
    return secrets.token_urlsafe(32)


def _make(path: Path, content: str) -> bool:
    if path.exists():
        return False
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    path.chmod(FILE_MODE)
    return True


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="credentials", description="The secret files of docker-compose.yml.")
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write the secret files that are missing")
    token = commands.add_parser("token", help="print one bearer token of the trial's own issuer")
    token.add_argument("--role", choices=("admin", "manager", "rep"), required=True)
    token.add_argument("--person", help="the id or external id of the bearer (manager and rep)")
    for command in (make, token):
        command.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    said = parser.parse_args()
    settings = Settings.from_environment()
    try:
        if said.command == "token":
            sys.stdout.write(trial_token(said.folder, said.role, said.person, settings) + "\n")
            return
        made = make_credentials(said.folder, settings.environment)
    except DevelopmentIssuerRefused as refused:
        sys.exit(f"credentials: {refused}")
    sys.stdout.write(f"{said.folder}: {', '.join(made) if made else 'every secret is there already'}\n")


if __name__ == "__main__":
    main()

"""Settings from the environment, with secrets as files: `NAME_FILE=/run/secrets/x` stands for `NAME`."""

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.logging import LogFormat

SHORTEST_SERVICE_TOKEN = 32
_VISIBLE = re.compile(r"[\x21-\x7e]+")


def environment_with_files(environment: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the values of `names`; where only `NAME_FILE` is there, the content of that file.

    Raises OSError when a file that is named cannot be read.
    """
    found = {name: environment[name] for name in names if name in environment}
    for name in set(names) - set(found):
        if path := environment.get(f"{name}_FILE"):
            found[name] = Path(path).read_text(encoding="utf-8").strip()
    return found


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that we start: ours, with `changes`."""
    return {**os.environ, **changes}  # noqa: TID251 - this is the place the ban points to


class Settings(BaseSettings):
    """What every service reads; a service's own settings extend it."""

    model_config = SettingsConfigDict(
        # Bad settings are told without their values: they may be secrets.
        extra="ignore",
        frozen=True,
        case_sensitive=False,
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production"] = "development"
    database_url: str | None = None
    bus_url: str | None = None
    time_zone: str = "Asia/Shanghai"
    business_country: str = "CN"
    log_level: str = "INFO"
    log_format: LogFormat = "json"
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    # Between saying that it ends (503 from /readyz) and accepting nothing more: longer than a balancer's look.
    drain_seconds: float = Field(default=2.0, ge=0, le=60)
    cors_origins: Annotated[list[str], NoDecode] = []
    largest_body_bytes: int = 4 * 1024 * 1024
    largest_upload_bytes: int = 64 * 1024 * 1024
    auth_issuer: str = "salesgrain-development"
    auth_audience: str = "salesgrain"
    auth_jwks_file: Path | None = None
    auth_jwks_url: str | None = None
    auth_roles_claim: str | None = None
    auth_person_claim: str = "person"
    cursor_secret: SecretStr | None = None
    webhook_allow_private: bool = False
    pipeline_url: str = "http://pipeline:8080"
    kpi_url: str = "http://kpi:8080"
    goals_url: str = "http://goals:8080"
    notify_url: str = "http://notify:8080"
    service_token: SecretStr | None = None

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        # As environments tell lists: `http://a,http://b`, or a JSON array.
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [origin.strip() for origin in value.split(",") if origin.strip()]

    @field_validator("service_token")
    @classmethod
    def _strong(cls, value: SecretStr | None) -> SecretStr | None:
        told = value.get_secret_value() if value else ""
        if value and (len(told) < SHORTEST_SERVICE_TOKEN or not _VISIBLE.fullmatch(told)):
            message = f"must be at least {SHORTEST_SERVICE_TOKEN} visible ASCII characters, drawn at random"
            raise ValueError(message)
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError) as error:
            message = f"{value!r} is not a time zone"
            raise ValueError(message) from error
        return value

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @classmethod
    def from_environment(cls, **overrides: object) -> Self:
        """Read the process environment; `overrides` win. Raises pydantic.ValidationError naming every bad setting."""
        names = {name.upper(): name for name in cls.model_fields}
        found = environment_with_files(os.environ, names)  # noqa: TID251 - this is the place the ban points to
        return cls.model_validate({**{names[name]: value for name, value in found.items()}, **overrides})

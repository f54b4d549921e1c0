"""The `salesgrain` command. Each command imports what it needs itself: `token` must not wait for four services."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import typer
import uvloop
from pydantic import ValidationError

from deploy.embedded.data_directory import default_data_directory
from deploy.embedded.issuer import development_token
from deploy.embedded.postgres_errors import EmbeddedPostgresError
from deploy.migration import MigrationRefused
from shared.auth.development_issuer import DevelopmentIssuerRefused
from shared.language import Language
from shared.logging import configure_logging
from shared.settings import Settings

T = TypeVar("T")

app = typer.Typer(
    help="SalesGrain, the backend for granular sales management.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
kpi = typer.Typer(help="Recompute and verify the KPI.", no_args_is_help=True)
dead_letters = typer.Typer(help="Events that could not be applied.", no_args_is_help=True)
app.add_typer(kpi, name="kpi")
app.add_typer(dead_letters, name="dead-letters")

DataDirectory = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where everything is kept (default: /var/lib/salesgrain, or the XDG data home)."),
]
RunAs = Annotated[
    str | None, typer.Option("--run-as", help="As root: the account that PostgreSQL runs as (default nobody).")
]
Alone = Annotated[
    bool, typer.Option("--alone", help="Within kpi's own process environment (a container): DATABASE_URL is kpi's.")
]


class RoleName(StrEnum):
    """The roles that a development token can have."""

    ADMIN = "admin"
    MANAGER = "manager"
    REP = "rep"


class ServiceName(StrEnum):
    """The four services."""

    PIPELINE = "pipeline"
    KPI = "kpi"
    GOALS = "goals"
    NOTIFY = "notify"


class BusName(StrEnum):
    """The logs that the distributed mode can run on."""

    KAFKA = "kafka"
    POSTGRES = "postgres"


class LanguageName(StrEnum):
    """The languages of the demonstration."""

    ZH = "zh"
    EN = "en"


def _settings() -> Settings:
    try:
        return Settings.from_environment()
    except ValidationError as error:
        for wrong in error.errors():
            typer.echo(f"salesgrain: {str(wrong['loc'][0]).upper()}: {wrong['msg']}", err=True)
        raise typer.Exit(1) from None


def _run(work: Callable[[], Awaitable[T]], *, level: str | None = None) -> T:
    """Run `work` on uvloop; what a user can put right ends with its message and code 1, not with a traceback."""
    settings = _settings()
    configure_logging(level or settings.log_level, settings.log_format)

    async def main() -> T:
        return await work()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())
    except (EmbeddedPostgresError, DevelopmentIssuerRefused, MigrationRefused) as error:
        typer.echo(f"salesgrain: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def up(
    data_dir: DataDirectory = None,
    port: Annotated[int, typer.Option("--port", help="The one port of all four services.")] = 8080,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    run_as: RunAs = None,
) -> None:
    """Run the embedded mode: PostgreSQL and all four services, until Ctrl-C or SIGTERM."""
    from deploy.embedded.mode import serve

    where = data_dir or default_data_directory()

    async def ready() -> None:
        typer.echo(
            f"SalesGrain serves http://{host}:{port} (data in {where}); documentation at /pipeline/docs", err=True
        )
        await asyncio.Event().wait()

    _run(lambda: serve(where, run_as, ready, host=host, port=port))


@app.command()
def token(
    role: Annotated[RoleName, typer.Option("--role", help="What the bearer may do.")],
    data_dir: DataDirectory = None,
    person: Annotated[str | None, typer.Option("--person", help="The id or external id of the bearer.")] = None,
) -> None:
    """Print one bearer token of the development issuer."""
    try:
        typer.echo(development_token(data_dir or default_data_directory(), role.value, person))
    except (DevelopmentIssuerRefused, EmbeddedPostgresError) as error:
        typer.echo(f"salesgrain: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the summary.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures and measured times here.")] = None,
    language: Annotated[
        LanguageName, typer.Option("--lang", help="The language of the demonstration.")
    ] = LanguageName.EN,
    data_dir: DataDirectory = None,
    port: Annotated[int | None, typer.Option("--port", help="Where it serves (default 8080, or a free one).")] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="On a local Kafka, two processes of each service behind a gateway.")
    ] = False,
    bus: Annotated[BusName, typer.Option("--bus", help="The log of --distributed.")] = BusName.KAFKA,
) -> None:
    """Run the main job on real input: import, goals, live moves, alerts, a kill -9; then keep serving."""
    from deploy.demo.demonstration import Demonstration, run_demonstration

    wanted: Language = "zh" if language is LanguageName.ZH else "en"
    settings = Demonstration(once, json_file, wanted, data_dir, port or 8080, distributed, bus.value)
    raise typer.Exit(_run(lambda: run_demonstration(settings), level="WARNING"))


@app.command()
def migrate(
    data_dir: DataDirectory = None,
    run_as: RunAs = None,
    service: Annotated[
        ServiceName | None, typer.Option("--service", help="Only this one's, which DATABASE_URL names.")
    ] = None,
) -> None:
    """Bring the databases of all services to their newest schema."""
    if service is not None:
        from deploy.migration import migrate_service

        typer.echo(_run(lambda: migrate_service(service.value), level="WARNING"))
        return
    from deploy.embedded.mode import opened

    async def work() -> None:
        async with opened(data_dir or default_data_directory(), run_as, beside=True):
            typer.echo("all databases are at their newest schema")

    _run(work, level="WARNING")


@app.command()
def topics(
    data_dir: DataDirectory = None,
    run_as: RunAs = None,
    check: Annotated[bool, typer.Option("--check", help="Make nothing, only say what differs.")] = False,
    replication: Annotated[int, typer.Option("--replication", min=1, help="Copies of each partition in Kafka.")] = 1,
) -> None:
    """List the topics; with BUS_URL or --data-dir, make what is missing there; exit 1 when something stays wrong."""
    from deploy.topics import prepare_topics, show_topics

    bus_url = _settings().bus_url
    if bus_url is None and data_dir is None:
        typer.echo(show_topics())
        return

    async def work() -> tuple[str, bool]:
        if bus_url is not None:
            return await prepare_topics(bus_url, replication, check_only=check)
        from deploy.administration import prepare_topics_beside

        return await prepare_topics_beside(data_dir or default_data_directory(), run_as, replication, check_only=check)

    said, right = _run(work, level="WARNING")
    typer.echo(said, err=not right)
    raise typer.Exit(0 if right else 1)


@app.command()
def audit(
    data_dir: DataDirectory = None,
    run_as: RunAs = None,
    wait: Annotated[float, typer.Option("--wait", help="Seconds that a reader may still be behind the history.")] = 30,
) -> None:
    """Hold log, readers and KPI against the owners' histories; exit 1 when an owner was restored from a backup."""
    from deploy.administration import audit_all

    lines, clean = _run(lambda: audit_all(data_dir or default_data_directory(), run_as, wait), level="WARNING")
    typer.echo("\n".join(lines))
    raise typer.Exit(0 if clean else 1)


@kpi.command("rebuild")
def kpi_rebuild(data_dir: DataDirectory = None, run_as: RunAs = None, alone: Alone = False) -> None:
    """Recompute every KPI from history beside live traffic, then switch to the result."""
    if alone:
        from deploy.alone import rebuild_kpi_alone

        typer.echo(_run(rebuild_kpi_alone, level="WARNING"))
        return
    from deploy.administration import rebuild_kpi

    typer.echo(_run(lambda: rebuild_kpi(data_dir or default_data_directory(), run_as), level="WARNING"))


@kpi.command("verify")
def kpi_verify(data_dir: DataDirectory = None, run_as: RunAs = None, alone: Alone = False) -> None:
    """Compare every live KPI cell with its recomputation from history; exit 1 when any differs."""
    from deploy.administration import verify_kpi
    from deploy.alone import verify_kpi_alone

    beside = data_dir or default_data_directory()
    lines, equal = _run(verify_kpi_alone if alone else lambda: verify_kpi(beside, run_as), level="WARNING")
    typer.echo("\n".join(lines))
    raise typer.Exit(0 if equal else 1)


@dead_letters.command("list")
def dead_letters_list(data_dir: DataDirectory = None, run_as: RunAs = None) -> None:
    """List the events that wait for somebody."""
    from deploy.administration import list_all_dead_letters

    typer.echo(_run(lambda: list_all_dead_letters(data_dir or default_data_directory(), run_as), level="WARNING"))


@dead_letters.command("show")
def dead_letters_show(letter: UUID, data_dir: DataDirectory = None, run_as: RunAs = None) -> None:
    """Show one of them whole, with what went wrong; exit 1 when there is none."""
    from deploy.administration import show_dead_letter

    where = data_dir or default_data_directory()
    said, found = _run(lambda: show_dead_letter(where, run_as, letter), level="WARNING")
    typer.echo(said)
    raise typer.Exit(0 if found else 1)


@dead_letters.command("replay")
def dead_letters_replay(letter: UUID, data_dir: DataDirectory = None, run_as: RunAs = None) -> None:
    """Apply one of them again, and what waited behind it; exit 1 when it cannot be applied."""
    from deploy.administration import replay_dead_letter

    where = data_dir or default_data_directory()
    said, done = _run(lambda: replay_dead_letter(where, run_as, letter), level="WARNING")
    typer.echo(said)
    raise typer.Exit(0 if done else 1)


def main() -> None:
    """The console script."""
    app()

"""Makes a service's HTTP application: the same edge for all four."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from shared.auth.api_keys import ApiKeys
from shared.auth.authenticator import Authenticator
from shared.auth.tokens import TokenVerifier
from shared.bus.subscription import Subscription
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Settings
from shared.web import dead_letters, stream_tickets
from shared.web.exports import ExportSource, export_router
from shared.web.failures import install
from shared.web.fast import FastRoute, served_directly
from shared.web.health import Check, Readiness, health_routes, platform_checks
from shared.web.middleware import BodyLimitMiddleware, RequestMiddleware
from shared.web.openapi import VERSION, complete, operation_id
from shared.web.pagination import Cursors
from shared.web.strict_input import strict_input

EXPOSED = ["ETag", "Link", "Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed", "Content-Language"]
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


class ServiceApp(FastAPI):
    """FastAPI whose document tells of problems, tokens and hot routes."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


def create_app(  # noqa: PLR0913 - the one place where a service's edge is put together, all by name
    name: str,
    *,
    title: str,
    context: object,
    database: Database,
    verifier: TokenVerifier,
    clock: Clock,
    settings: Settings,
    routers: Sequence[APIRouter],
    exports: Mapping[str, ExportSource] | None = None,
    readiness: Mapping[str, Check] | None = None,
    subscriptions: Sequence[Subscription] = (),
) -> FastAPI:
    """Return the application of service `name`: its `routers` below `/{name}/v1`, and everything each service has.

    That is docs at `/{name}/docs`, `/{name}/openapi.json`, health, metrics, exports of the topics it owns, dead letters
    and stream tickets. Routes find `context` in `request.app.state.context`. Cursors are signed with CURSOR_SECRET;
    without it with a key of this process, which is good for one process only: its cursors end with it.
    """
    app = ServiceApp(
        title=title,
        version=VERSION,
        openapi_url=f"/{name}/openapi.json",
        docs_url=f"/{name}/docs",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        servers=[{"url": "/"}],
        generate_unique_id_function=operation_id,
        telemetry=NO_TELEMETRY,
    )
    app.state.name = name
    app.state.context = context
    app.state.database = database
    app.state.authenticator = Authenticator(verifier, ApiKeys(database, clock), _service_token(settings))
    app.state.clock = clock
    app.state.subscriptions = tuple(subscriptions)
    app.state.cursors = Cursors(_cursor_secret(settings))
    app.state.readiness = Readiness({**platform_checks(name, database), **_auth_check(verifier), **(readiness or {})})
    install(app)
    app.router.routes.extend(health_routes(name, database, app.state.readiness))
    _include(app, f"/{name}/v1", [*routers, export_router(exports or {}), dead_letters.router, stream_tickets.router])
    _surround(app, name, settings)
    return app


def _service_token(settings: Settings) -> str | None:
    return settings.service_token.get_secret_value() if settings.service_token else None


def _auth_check(verifier: TokenVerifier) -> Mapping[str, Check]:
    # Keys that are given need no looking after; those of an issuer must have come before anybody can be let in.
    return {} if verifier.issuer_keys is None else {"auth": verifier.issuer_keys.check}


def _cursor_secret(settings: Settings) -> bytes:
    told = settings.cursor_secret
    return told.get_secret_value().encode() if told else secrets.token_bytes(32)


def _include(app: FastAPI, prefix: str, routers: Sequence[APIRouter]) -> None:
    for router in routers:
        for route in router.routes:
            if isinstance(route, FastRoute):
                path = prefix + route.path
                hot = Route(path, served_directly(path, route.endpoint), methods=list(route.methods or ()))
                # First of all: the router tries one route after the other, and nested ones twice.
                app.router.routes.insert(0, hot)
    for router in routers:
        app.include_router(router, prefix=prefix, dependencies=[Depends(strict_input)])


def _surround(app: FastAPI, name: str, settings: Settings) -> None:
    # The last one added is the outermost: even a 500 passes through CORS.
    app.add_middleware(
        BodyLimitMiddleware, largest=settings.largest_body_bytes, largest_upload=settings.largest_upload_bytes
    )
    app.add_middleware(RequestMiddleware, service=name)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            allow_credentials="*" not in settings.cors_origins,
            expose_headers=EXPOSED,
        )

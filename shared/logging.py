"""Structured logging: one line per fact, JSON for machines, colours for people."""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

import msgspec
import structlog

from shared.tracing import bound_cause

LogFormat = Literal["json", "console"]
_access = logging.getLogger("access")
_PROBES = frozenset({"/livez", "/readyz", "/metrics"})


def _add_cause(_logger: Any, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    cause = bound_cause()
    if cause is not None:
        entry.setdefault("correlation_id", cause.correlation_id)
        entry.setdefault("causation_id", cause.causation_id)
        entry.setdefault("traceparent", cause.traceparent)
    return entry


def configure_logging(level: str, style: LogFormat) -> None:
    """Send structlog and the standard library's loggers to stderr in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_cause,
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if style == "json"
        # Never a traceback with local variables: they may hold tokens.
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    access = logging.StreamHandler(sys.stderr)
    access.setFormatter(_JsonAccess() if style == "json" else _ConsoleAccess())
    _access.handlers, _access.propagate = [access], False
    for noisy in ("uvicorn.access", "httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; call it with a short event name and key=value facts."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


def log_access(facts: Mapping[str, object]) -> None:
    """Log one finished request (service, method, path, status, milliseconds, ...).

    Not through structlog: its chain of processors would cost more than all the rest around a request. Probes that went
    well are left out: orchestrator, gateway and Prometheus ask every second.
    """
    if facts["path"] in _PROBES and facts["status"] == HTTPStatus.OK:
        return
    if _access.isEnabledFor(logging.INFO):
        _access.handle(logging.LogRecord("access", logging.INFO, "", 0, "request", (facts,), None))


class _JsonAccess(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        cause = bound_cause()
        entry = {
            **_facts(record),
            "event": "request",
            "correlation_id": cause.correlation_id if cause else None,
            "traceparent": cause.traceparent if cause else None,
            "logger": "access",
            "level": "info",
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        return msgspec.json.encode(entry).decode()


class _ConsoleAccess(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = _facts(record)
        return f"{moment} {facts['method']} {facts['path']!r} {facts['status']} {facts['milliseconds']}ms"


def _facts(record: logging.LogRecord) -> Mapping[str, object]:
    # A single mapping as argument is what LogRecord keeps as it is.
    return record.args if isinstance(record.args, Mapping) else {}

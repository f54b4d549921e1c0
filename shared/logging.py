"""Structured logging: one line per fact, JSON for machines, colours for people."""

import logging
import sys
from typing import Any, Literal

import structlog

from shared.tracing import bound_cause

LogFormat = Literal["json", "console"]


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
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
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
    for noisy in ("uvicorn.access", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; call it with a short event name and key=value facts."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger

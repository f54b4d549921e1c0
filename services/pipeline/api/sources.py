"""Sources of webhooks over HTTP: an administrator says who may send, signs with what, and how bodies are mapped."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Response
from pydantic import ConfigDict, Field, StringConstraints

from services.pipeline.api.context import CurrentContext
from services.pipeline.api.intake import refused
from services.pipeline.domain.import_problems import Rejected
from services.pipeline.store.sources import Mode, Source, find_source
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.sources import SourceSettings, lock_source, put_source
from shared.web.conditions import IfMatch, etag, require_match
from shared.web.models import Answer, Body, Rfc3339
from shared.web.principal import AdminOnly

router = APIRouter(tags=["sources"])

SourceName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$", description="The name of the source.")]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class SourceBody(Body):
    """A source. `secret`, or several `secrets` while one is replaced, are written only; left out they stay.

    `mapping` is that of an import of deals, with dotted paths or JSON pointers into the body as columns; what it leaves
    out is read as the kind does. In the mode `paused` webhooks are received, and wait.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "standard-webhooks",
                    "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                    "mapping": {
                        "process": "standard",
                        "current_stage": {"column": "data.stage", "values": {"closedwon": "won"}},
                    },
                    "mode": "record",
                }
            ]
        }
    )

    kind: Literal["standard-webhooks"] = "standard-webhooks"
    secret: Secret | None = None
    secrets: Annotated[list[Secret] | None, Field(min_length=1, max_length=5)] = None
    mapping: dict[str, Any] = Field(default_factory=dict, max_length=50)
    mode: Mode = "record"

    def to_settings(self) -> SourceSettings:
        told = [*([self.secret] if self.secret else []), *(self.secrets or [])]
        return SourceSettings(self.kind, self.mode, self.mapping, tuple(dict.fromkeys(told)) or None)


class SourceAnswer(Answer):
    """A source; of its secrets only how many there are."""

    source: str
    kind: str
    mode: Mode
    mapping: dict[str, Any]
    secrets_set: int
    version: int
    created_at: Rfc3339
    updated_at: Rfc3339

    @classmethod
    def of(cls, source: Source) -> Self:
        return cls(
            source=source.source,
            kind=source.kind,
            mode=source.mode,
            mapping=source.mapping,
            secrets_set=len(source.secrets),
            version=source.version,
            created_at=source.created_at,
            updated_at=source.updated_at,
        )


@router.get("/sources/{source}")
async def read_source(source: SourceName, response: Response, context: CurrentContext, _who: AdminOnly) -> SourceAnswer:
    """Read a source."""
    async with context.database.snapshot() as tx:
        found = await find_source(tx, source)
    if found is None:
        raise NotFound("source")
    response.headers["etag"] = etag(found.version)
    return SourceAnswer.of(found)


@router.put("/sources/{source}", responses={201: {"model": SourceAnswer}})
async def put_source_settings(
    source: SourceName,
    body: SourceBody,
    response: Response,
    context: CurrentContext,
    _who: AdminOnly,
    if_match: IfMatch = None,
) -> SourceAnswer:
    """Create a source (201; it needs a secret), or change one (200; it needs If-Match)."""
    async with context.database.transaction() as tx:
        present = await lock_source(tx, source)
        if present is not None:
            require_match(if_match, present.version)
        try:
            written = await put_source(context, tx, source, present, body.to_settings())
        except Rejected as rejected:
            raise refused(rejected) from rejected
    # Webhooks may have waited for a paused source.
    context.webhook_received.set()
    response.headers.update({"etag": etag(written.version), "location": f"/pipeline/v1/sources/{source}"})
    response.status_code = 200 if present else 201
    return SourceAnswer.of(written)

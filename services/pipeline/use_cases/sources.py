"""Sources: who may send us webhooks, proved by which secrets, and mapped how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.crm import KINDS
from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.mapping import DealMapping
from services.pipeline.domain.mapping_check import unknown_names
from services.pipeline.domain.mapping_reader import read_mapping
from services.pipeline.store.sources import Mode, Source, find_source, save_source
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.processes import DEFAULT_PROCESS


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What an administrator says about a source; without `secrets` the present ones stay."""

    kind: str
    mode: Mode
    mapping: Mapping[str, Any]
    secrets: Sequence[str] | None


def mapping_of(kind: str, written: Mapping[str, Any]) -> DealMapping:
    """Return how bodies of a source are mapped: as written, and as its kind does where nothing is written.

    Raises Rejected. The `source` of a deal is the source itself and cannot be mapped.
    """
    if "source" in written:
        raise Rejected([Problem("unknown_field", "/source", "source")])
    return read_mapping(DealMapping, written, KINDS[kind].mapping)


async def put_source(
    context: Context, tx: AsyncConnection, name: str, present: Source | None, wanted: SourceSettings
) -> Source:
    """Write a source over its locked present state; raises Rejected with pointers into the request."""
    problems = list(await _problems(context, tx, wanted))
    if wanted.secrets is None and present is None:
        problems.append(Problem("missing_value", "/secret"))
    problems += [
        Problem("not_a_secret", "/secret")
        for secret in wanted.secrets or ()
        if not KINDS[wanted.kind].check_secret(secret)
    ]
    if problems:
        raise Rejected(problems)
    now = context.clock()
    source = Source(
        source=name,
        version=present.version if present else 1,
        kind=wanted.kind,
        mode=wanted.mode,
        mapping=dict(wanted.mapping),
        secrets=tuple(wanted.secrets) if wanted.secrets is not None else present.secrets if present else (),
        created_at=present.created_at if present else now,
        updated_at=present.updated_at if present else now,
    )
    if source == present:
        return source
    if present is not None:
        source = msgspec.structs.replace(source, version=present.version + 1, updated_at=now)
    await save_source(tx, source)
    return source


async def _problems(context: Context, tx: AsyncConnection, wanted: SourceSettings) -> Sequence[Problem]:
    try:
        mapping = mapping_of(wanted.kind, wanted.mapping)
        found = list(unknown_names(mapping, await context.processes.all_newest(tx), DEFAULT_PROCESS))
    except Rejected as error:
        found = list(error.problems)
    return [msgspec.structs.replace(problem, where=f"/mapping{problem.where or ''}") for problem in found]


async def lock_source(tx: AsyncConnection, name: str) -> Source | None:
    """Lock a source and return it; None for a name that is free."""
    return await find_source(tx, name, lock=True)

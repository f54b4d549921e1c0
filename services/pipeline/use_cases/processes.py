"""Publishing processes: a new definition is a new version of its code, announced to all."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.process import Process
from services.pipeline.domain.process_events import process_changed
from services.pipeline.domain.process_rules import Fault, faults_of, with_mandatory_tasks_asked
from services.pipeline.store.processes import Published, find_process, lock_head, save_version
from services.pipeline.use_cases.errors import Refusal
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.outbox import announce

DEFAULT_PROCESS = "standard"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ProcessInvalid(Refusal):
    """A definition that cannot be published, with everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(", ".join(f"{fault.pointer}: {fault.code}" for fault in faults))
        self.faults = faults


async def publish_process(
    tx: AsyncConnection, definition: Process, actor: str | None, now: datetime
) -> tuple[Published, bool]:
    """Publish `definition` as the next version of its code, whatever version it names, and tell whether it is new.

    A definition that equals the newest version stays that version. Raises ProcessInvalid.
    """
    faults = faults_of(definition)
    if faults:
        raise ProcessInvalid(faults)
    head = await lock_head(tx, definition.code)
    process = with_mandatory_tasks_asked(definition)
    newest = await find_process(tx, process.code)
    if newest is not None and newest.process == msgspec.structs.replace(process, version=head.version):
        return newest, False
    state_version = max(head.state_version + 1, (now - _EPOCH) // timedelta(microseconds=1))
    published = Published(msgspec.structs.replace(process, version=head.version + 1), now, state_version)
    await save_version(tx, published, actor)
    await announce(tx, [process_changed(*published)])
    return published, True


async def install_default_process(database: Database, clock: Clock) -> None:
    """Publish `standard` where no process of that code exists; a second call changes nothing."""
    async with database.transaction() as tx:
        if await find_process(tx, DEFAULT_PROCESS) is None:
            await publish_process(tx, read_default_process(), None, clock())


async def has_default_process(database: Database) -> str | None:
    """Return why pipeline is not ready while the default process is not there; None when it is."""
    async with database.snapshot() as tx:
        found = await find_process(tx, DEFAULT_PROCESS)
    return None if found else f"the process {DEFAULT_PROCESS} is not installed yet"


def read_default_process() -> Process:
    """Return the default process as it is shipped."""
    data = resources.files("services.pipeline").joinpath("processes", f"{DEFAULT_PROCESS}.json").read_bytes()
    return msgspec.json.decode(data, type=Process)

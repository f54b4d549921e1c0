"""Whether a mapping fits a file and the processes there are: found when it is handed in, not row by row."""

from collections.abc import Collection, Iterator, Mapping

from services.pipeline.domain.import_problems import Problem
from services.pipeline.domain.mapping import DealMapping, RowMapping, StageLogMapping, Value, values_of
from services.pipeline.domain.process import Process


def unknown_columns(mapping: RowMapping, columns: Collection[str]) -> Iterator[Problem]:
    """Yield each place of a mapping that names a column which the header does not have."""
    for pointer, value in values_of(mapping):
        if value.column is not None and value.column not in columns:
            yield Problem("unknown_column", pointer, value.column)


def unknown_names(mapping: RowMapping, processes: Mapping[str, Process], default_process: str) -> Iterator[Problem]:
    """Yield each place of a mapping that names a process or a stage which does not exist."""
    if not isinstance(mapping, DealMapping | StageLogMapping):
        return
    named = mapping.process or Value(constant=default_process)
    if named.constant is None:
        return
    process = processes.get(named.constant)
    if process is None:
        yield Problem("unknown_process", "/process", named.constant)
        return
    for pointer, value in values_of(mapping):
        if not pointer.endswith(("/stage", "/current_stage")):
            continue
        for stage in filter(None, [value.constant, *(value.values or {}).values()]):
            if stage not in process.places:
                yield Problem("unknown_stage", pointer, stage)

"""Files of rows as bytes: CSV (RFC 4180) and NDJSON, read window by window, one bad line at a time.

UTF-8 and GB18030 both keep line feeds, quotes and commas to themselves, so physical lines are found in the bytes: the
position behind a row is exact, and reading can go on from it after a crash.
"""

import codecs
import csv
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.json_cells import object_cells, read_object
from services.pipeline.domain.mapping import Cells

Format = Literal["csv", "ndjson"]
Encoding = Literal["utf-8", "gb18030"]
# A row that does not fit into a window is not a row: an open quote swallows what follows it.
WINDOW_BYTES = 256 * 1024


class Record(msgspec.Struct, frozen=True):
    """A row: its first physical line (1-based), its bytes, and the position and line behind it.

    `cells` reads it by column or path; `problem` says why it cannot be read.
    """

    line: int
    raw: bytes
    end: int
    next_line: int
    cells: Cells | None = None
    problem: Problem | None = None


class EncodingProbe:
    """Finds out, chunk by chunk, whether a file is UTF-8 or else GB18030."""

    def __init__(self) -> None:
        self._open: dict[Encoding, codecs.IncrementalDecoder] = {
            "utf-8": codecs.getincrementaldecoder("utf-8")(),
            "gb18030": codecs.getincrementaldecoder("gb18030")(),
        }

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        """Look at the next chunk of the file."""
        for encoding, decoder in list(self._open.items()):
            try:
                decoder.decode(chunk, final)
            except UnicodeDecodeError:
                del self._open[encoding]

    @property
    def encoding(self) -> Encoding:
        """UTF-8 where all of the file is, or where it is neither: then its bad lines are told one by one."""
        return next(iter(self._open), "utf-8")


class _Lines:
    """The physical lines of a window, one by one, with the place of the next; `dry` when one more was asked for."""

    def __init__(self, window: bytes, line: int, encoding: Encoding, *, final: bool) -> None:
        self.window = window
        self.encoding = encoding
        self.final = final
        self.position = 0
        self.line = line
        self.dry = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        return self.take().decode(self.encoding)

    def take(self) -> bytes:
        start = self.position
        end = self.window.find(b"\n", start) + 1
        if end:
            self.line += 1
        elif start < len(self.window) and (self.final or (start == 0 and len(self.window) >= WINDOW_BYTES)):
            end = len(self.window)
        else:
            self.dry = True
            raise StopIteration
        self.position = end
        return self.window[start:end]

    def back_to(self, position: int, line: int) -> None:
        self.position, self.line, self.dry = position, line, False


def read_header(head: bytes, encoding: Encoding) -> tuple[tuple[str, ...], int, int]:
    """Return the columns of a CSV file, and the position and line behind its header; raises Rejected."""
    bom = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    lines = _Lines(head[bom:], 1, encoding, final=True)
    for row in csv.reader(lines):
        columns = tuple(cell.strip() for cell in row)
        if any(columns):
            repeated = sorted({column for column in columns if column and columns.count(column) > 1})
            if repeated:
                raise Rejected([Problem("duplicate_column", "/file", name) for name in repeated])
            return columns, bom + lines.position, lines.line
    raise Rejected([Problem("empty_file", "/file")])


def read_csv(window: bytes, line: int, columns: Sequence[str], encoding: Encoding, *, final: bool) -> Iterator[Record]:
    """Yield the rows of a window that starts at physical `line`; the last, incomplete one only when it is `final`."""
    lines = _Lines(window, line, encoding, final=final)
    reader = csv.reader(lines, strict=True)
    while True:
        start, first_line = lines.position, lines.line
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            if lines.dry and not final and start > 0:
                return
            # One physical line is given up; the next row is looked for behind it.
            lines.back_to(start, first_line)
            raw = lines.take()
            yield Record(first_line, raw, lines.position, lines.line, None, _unreadable(error))
            reader = csv.reader(lines, strict=True)
            continue
        if row:
            raw = window[start : lines.position]
            if len(row) == len(columns):
                yield Record(first_line, raw, lines.position, lines.line, dict(zip(columns, row, strict=True)).get)
            else:
                problem = Problem("wrong_number_of_cells", None, f"{len(row)} / {len(columns)}")
                yield Record(first_line, raw, lines.position, lines.line, None, problem)


def _unreadable(error: csv.Error | UnicodeDecodeError) -> Problem:
    if isinstance(error, UnicodeDecodeError):
        return Problem("not_in_encoding", None, error.encoding)
    return Problem("not_a_record", None, str(error))


def read_ndjson(window: bytes, line: int, encoding: Encoding, *, final: bool) -> Iterator[Record]:
    """Yield the objects of a window that starts at physical `line`, one for each line that is not blank."""
    lines = _Lines(window, line, encoding, final=final)
    while True:
        first_line = lines.line
        try:
            raw = lines.take()
        except StopIteration:
            return
        if not raw.strip():
            continue
        found = read_object(raw.decode(encoding, "replace").removeprefix("\ufeff"))
        if found is None:
            yield Record(first_line, raw, lines.position, lines.line, None, Problem("not_an_object"))
        else:
            yield Record(first_line, raw, lines.position, lines.line, object_cells(found))

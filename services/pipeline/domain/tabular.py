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
    """A row: its first physical line (1-based) and its bytes.

    `cells` reads it by column or path; `problem` says why it cannot be read.
    """

    line: int
    raw: bytes
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


class Lines:
    """The physical lines of a window of a file, one by one.

    `position` and `line` (1-based) are those of the next line; `dry` tells that one more was asked for than there is.
    A line without its end counts only in the `final` window. Where a window begins `within` a line, one too long for
    the window before it, the rest of that line is passed over: no part of a line is a row.
    """

    def __init__(self, window: bytes, line: int, encoding: Encoding, *, final: bool, within: bool = False) -> None:
        self.window = window
        self.encoding = encoding
        self.final = final
        self.position = 0
        self.line = line
        self.dry = False
        if within:
            end = window.find(b"\n") + 1
            self.position, self.line = (end, line + 1) if end else (len(window), line)

    def __iter__(self) -> "Lines":
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


def read_header(head: bytes, encoding: Encoding) -> tuple[tuple[str, ...], Lines]:
    """Return the columns of a CSV file, and its lines standing behind the header; raises Rejected."""
    lines = Lines(head, 1, encoding, final=True)
    if head.startswith(codecs.BOM_UTF8):
        lines.back_to(len(codecs.BOM_UTF8), 1)
    try:
        columns = next((tuple(cell.strip() for cell in row) for row in csv.reader(lines) if any(row)), ())
    except (csv.Error, UnicodeDecodeError) as error:
        raise Rejected([_unreadable(error)]) from error
    if not columns:
        raise Rejected([Problem("empty_file")])
    repeated = sorted({column for column in columns if column and columns.count(column) > 1})
    if repeated:
        raise Rejected([Problem("duplicate_column", None, name) for name in repeated])
    return columns, lines


def read_rows(lines: Lines, file_format: Format, columns: Sequence[str]) -> Iterator[Record]:
    """Yield the rows of a window; behind each, `lines` stands where reading can go on. Blank lines are no rows."""
    return read_csv(lines, columns) if file_format == "csv" else read_ndjson(lines)


def read_csv(lines: Lines, columns: Sequence[str]) -> Iterator[Record]:
    """Yield the rows of a window of a CSV file, after its header; an incomplete last one only when it is final."""
    reader = csv.reader(lines, strict=True)
    while True:
        start, first_line = lines.position, lines.line
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            if lines.dry and not lines.final and start > 0:
                lines.back_to(start, first_line)
                return
            # One physical line is given up; the next row is looked for behind it.
            lines.back_to(start, first_line)
            raw = lines.take()
            yield Record(first_line, raw, None, _unreadable(error))
            reader = csv.reader(lines, strict=True)
            continue
        if row:
            raw = lines.window[start : lines.position]
            if len(row) == len(columns):
                yield Record(first_line, raw, dict(zip(columns, row, strict=True)).get)
            else:
                problem = Problem("wrong_number_of_cells", None, f"{len(row)} / {len(columns)}")
                yield Record(first_line, raw, None, problem)


def _unreadable(error: csv.Error | UnicodeDecodeError) -> Problem:
    if isinstance(error, UnicodeDecodeError):
        return Problem("not_in_encoding", None, error.encoding)
    return Problem("not_a_record", None, str(error))


def read_ndjson(lines: Lines) -> Iterator[Record]:
    """Yield the objects of a window of an NDJSON file."""
    while True:
        first_line = lines.line
        try:
            raw = lines.take()
        except StopIteration:
            return
        if not raw.strip():
            continue
        found = read_object(raw.decode(lines.encoding, "replace").removeprefix("\ufeff"))
        if found is None:
            yield Record(first_line, raw, None, Problem("not_an_object"))
        else:
            yield Record(first_line, raw, object_cells(found))

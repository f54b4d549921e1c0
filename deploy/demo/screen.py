"""What the demonstration prints: bilingual lines, aligned for wide characters, and one progress line."""

import sys
import unicodedata
from collections.abc import Sequence

from shared.language import Language

BAR = 24


def width(text: str) -> int:
    """Return how many terminal columns `text` takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Return `text` filled to `columns` terminal columns."""
    gap = " " * max(0, columns - width(text))
    return gap + text if right else text + gap


class Screen:
    """Prints in one language to standard output."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._progress = False

    def say(self, zh: str, en: str) -> None:
        """Print one line in the chosen language."""
        self._end_progress()
        sys.stdout.write((zh if self._language == "zh" else en) + "\n")
        sys.stdout.flush()

    def table(self, rows: Sequence[Sequence[str]], columns: Sequence[int], indent: int = 4) -> None:
        """Print rows; the first column is text, the others are numbers."""
        for first, *rest in rows:
            cells = [pad(first, columns[0])]
            cells += [pad(cell, size, right=True) for cell, size in zip(rest, columns[1:], strict=True)]
            self.say(*(" " * indent + "  ".join(cells),) * 2)

    def progress(self, zh: str, en: str, done: int, total: int) -> None:
        """Show how far something is, on one line that is overwritten; nothing where no terminal looks on."""
        if sys.stdout.isatty() and total:
            filled = BAR * done // total
            label = zh if self._language == "zh" else en
            sys.stdout.write(f"\r  {label} [{'#' * filled}{'.' * (BAR - filled)}] {done:,}/{total:,}")
            sys.stdout.flush()
            self._progress = True
        elif done >= total:
            label = zh if self._language == "zh" else en
            sys.stdout.write(f"  {label} {done:,}/{total:,}\n")
            sys.stdout.flush()

    def _end_progress(self) -> None:
        if self._progress:
            sys.stdout.write("\r\033[K")
            self._progress = False


def money(amount: str) -> str:
    """Return a decimal text with thousands separated: 2802496.00 is 2,802,496.00."""
    whole, _, rest = amount.partition(".")
    return f"{int(whole):,}" + (f".{rest}" if rest else "")


def percent(ratio: str | None) -> str:
    """Return a ratio text as a percentage with one decimal, or a dash."""
    return "-" if ratio is None else f"{float(ratio) * 100:.1f} %"

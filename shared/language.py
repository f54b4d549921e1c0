"""Texts in Chinese and English, both first-class."""

from collections.abc import Mapping
from typing import Literal

Language = Literal["zh", "en"]
Text = Mapping[Language, str]
DEFAULT_LANGUAGE: Language = "zh"


def negotiate(accept_language: str | None, default: Language = "en") -> Language:
    """Return the better of zh and en for an `Accept-Language` header, `default` when it names neither."""
    best: tuple[float, Language] | None = None
    for part in (accept_language or "").split(","):
        tag, _, parameters = part.strip().partition(";")
        primary = tag.lower().split("-")[0]
        weight = _weight(parameters)
        if primary in ("zh", "en") and weight > 0 and (best is None or weight > best[0]):
            best = (weight, "zh" if primary == "zh" else "en")
    return best[1] if best else default


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def pick(text: Mapping[str, str] | Text, language: Language) -> str:
    """Return `text` in `language`, or in the other one where it is missing."""
    return text.get(language) or text.get("en") or text.get("zh") or ""

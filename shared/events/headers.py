"""Headers as tables keep them: JSON text, which whoever only passes a message on neither reads nor writes anew."""

from collections.abc import Iterator, Mapping

import msgspec

_decoder = msgspec.json.Decoder(dict[str, str])


class WrittenHeaders(Mapping[str, str]):
    """Headers that were read from a table as text; decoded when somebody looks at them."""

    __slots__ = ("_read", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._read: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    @property
    def _headers(self) -> dict[str, str]:
        if self._read is None:
            self._read = read_headers(self.text)
        return self._read


def read_headers(text: str) -> dict[str, str]:
    """Return the headers that a JSON text tells; raises msgspec.MsgspecError."""
    return _decoder.decode(text)


def headers_text(headers: Mapping[str, str]) -> str:
    """Return `headers` as JSON text, as they were written where they were read as text."""
    return headers.text if isinstance(headers, WrittenHeaders) else msgspec.json.encode(headers).decode()

"""Headers on their way through a proxy (RFC 9110, 7.6): those of one connection end here, the others pass unchanged."""

from starlette.types import Scope

from shared.http_client import RawHeaders

_ONE_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
})  # fmt: skip
# Ours are put in their place; an expectation is met by our own server before the body comes.
_OURS = frozenset({b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})


def forwarded(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the request's headers as a replica gets them, with who asked, where and how in X-Forwarded-*.

    What a client says of that itself is dropped: nobody stands before this gateway whom we could believe.
    """
    told: RawHeaders = scope["headers"]
    dropped = _ONE_HOP | _OURS | _named_by_connection(told)
    passed = [(name, value) for name, value in told if name not in dropped]
    if content_length(told) is None and has(told, b"transfer-encoding"):
        passed.append((b"transfer-encoding", b"chunked"))
    client = scope.get("client")
    if client:
        passed.append((b"x-forwarded-for", str(client[0]).encode()))
    passed.append((b"x-forwarded-proto", str(scope.get("scheme", "http")).encode()))
    passed += [(b"x-forwarded-host", value) for name, value in told if name == b"host"]
    return passed


def answered(told: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return a replica's headers as the client gets them; the date is our own server's."""
    lower = [(name.lower(), value) for name, value in told]
    dropped = _ONE_HOP | {b"date", b"server"} | _named_by_connection(lower)
    return [(name, value) for name, value in lower if name not in dropped]


def content_length(headers: RawHeaders) -> int | None:
    """Return the length that was declared, None when there is none."""
    return next((int(value) for name, value in headers if name == b"content-length" and value.isdigit()), None)


def has(headers: RawHeaders, wanted: bytes) -> bool:
    return any(name == wanted for name, _ in headers)


def _named_by_connection(headers: RawHeaders) -> set[bytes]:
    return {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}

"""The digest by which two requests with one Idempotency-Key are told apart."""

import hashlib
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

CHUNK = 1 << 20


async def digest_of(request: Request) -> bytes:
    """Return the SHA-256 over method, path, query and body; of a form, over its fields and files."""
    digest = hashlib.sha256()
    for part in (request.method, request.scope["path"], request.scope["query_string"].decode("latin-1")):
        digest.update(part.encode() + b"\n")
    if request.headers.get("content-type", "").startswith("multipart/"):
        await _add_form(request, digest)
    else:
        digest.update(await request.body())
    return digest.digest()


async def _add_form(request: Request, digest: Any) -> None:
    # The boundary between the parts differs from sending to sending: the parts count, not the bytes.
    for name, value in (await request.form()).multi_items():
        digest.update(f"\n{name}\n".encode())
        if not isinstance(value, UploadFile):
            digest.update(value.encode())
            continue
        digest.update(f"{value.filename}\n".encode())
        while chunk := await value.read(CHUNK):
            digest.update(chunk)
        await value.seek(0)

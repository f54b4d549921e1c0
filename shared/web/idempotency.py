"""Idempotency-Key on POST: the reply is stored in the very transaction of the change, and given again to a repeat.

A key belongs to one principal, method and path. A repeat with the same request gets the same reply with
`Idempotency-Replayed: true`; with another request 422; while the first still runs 409. A request that failed stored
nothing and may be repeated.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from fastapi import Depends, Header
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from shared.db.engine import Database
from shared.language import Text
from shared.web.principal import authenticate
from shared.web.problems import FieldError, Problem, invalid
from shared.web.request_digest import digest_of

HEADER = "Idempotency-Key"
KEPT_FOR = timedelta(hours=48)
JSON = "application/json"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An Idempotency-Key of one principal on one path, and the digest of the request that came with it."""

    scope: str
    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply as it was first given."""

    request_hash: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a POST answers: a model or JSON bytes, and headers such as Location and ETag."""

    status: int
    body: BaseModel | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if isinstance(self.body, BaseModel):
            return self.body.model_dump_json(by_alias=True).encode()
        return self.body or b""


_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:scope || chr(10) || :key, 0))")
_FIND = text(
    """
    SELECT stored.scope, stored.key, request_hash, status, headers, body
    FROM idempotency_key stored
    JOIN unnest(CAST(:scopes AS text[]), CAST(:keys AS text[])) AS wanted (scope, key) USING (scope, key)
    """
)
_STORE = text(
    """
    INSERT INTO idempotency_key (scope, key, request_hash, status, headers, body)
    SELECT scope, key, request_hash, status, headers::jsonb, body
    FROM unnest(CAST(:scopes AS text[]), CAST(:keys AS text[]), CAST(:hashes AS bytea[]), CAST(:statuses AS integer[]),
                CAST(:headers AS text[]), CAST(:bodies AS bytea[]))
         AS rows (scope, key, request_hash, status, headers, body)
    ORDER BY scope, key
    """
)
_FORGET = text(
    """
    DELETE FROM idempotency_key
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_key WHERE created_at < :before LIMIT 10000))
    """
)

Work = Callable[[AsyncConnection], Awaitable[Reply]]


def response_of(status: int, headers: Mapping[str, str], body: bytes) -> Response:
    """Return the HTTP answer of a reply."""
    return Response(body, status, dict(headers), JSON if body else None)


def replayed(key: StoredKey, stored: StoredReply) -> Response:
    """Return the stored answer to a repeat; raises 422 when the repeat is another request."""
    if stored.request_hash != key.request_hash:
        raise Problem(422, "idempotency_key_reused")
    headers = {**stored.headers, "idempotency-replayed": "true"}
    return response_of(stored.status, headers, stored.body)


async def find_replies(tx: AsyncConnection, keys: Sequence[StoredKey]) -> dict[StoredKey, StoredReply]:
    """Return what is stored for each of `keys`, also under another request; keys without a reply are left out.

    Hot paths call it (and `store_replies`) with their entities locked, which keeps repeats of one key apart.
    """
    if not keys:
        return {}
    wanted = {"scopes": [key.scope for key in keys], "keys": [key.key for key in keys]}
    rows = (await tx.execute(_FIND, wanted)).all()
    found = {(row.scope, row.key): StoredReply(row.request_hash, row.status, row.headers, row.body) for row in rows}
    return {key: found[key.scope, key.key] for key in keys if (key.scope, key.key) in found}


async def store_replies(
    tx: AsyncConnection, replies: Sequence[tuple[StoredKey, int, Mapping[str, str], bytes]]
) -> None:
    """Store replies (key, status, headers, body) within the transaction of their changes."""
    if replies:
        columns = {
            "scopes": [key.scope for key, *_ in replies],
            "keys": [key.key for key, *_ in replies],
            "hashes": [key.request_hash for key, *_ in replies],
            "statuses": [status for _, status, _, _ in replies],
            "headers": [msgspec.json.encode(dict(headers)).decode() for _, _, headers, _ in replies],
            "bodies": [body for *_, body in replies],
        }
        await tx.execute(_STORE, columns)


async def forget_old_keys(tx: AsyncConnection, now: datetime) -> int:
    """Delete up to 10,000 keys that are older than 48 hours; return how many. For a job of every service."""
    return (await tx.execute(_FORGET, {"before": now - KEPT_FOR})).rowcount


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A POST and its key, if it came with one."""

    key: StoredKey | None

    async def run(self, database: Database, work: Work) -> Response:
        """Run `work` in one transaction together with the stored key, or give the stored reply.

        Raises 409 while the same key is in flight and 422 when it was used for another request.
        """
        async with database.transaction() as tx:
            if self.key is None:
                reply = await work(tx)
            else:
                stored = await self._claimed(tx, self.key)
                if stored is not None:
                    return replayed(self.key, stored)
                reply = await work(tx)
                await store_replies(tx, [(self.key, reply.status, reply.headers, reply.encoded())])
        return response_of(reply.status, reply.headers, reply.encoded())

    async def _claimed(self, tx: AsyncConnection, key: StoredKey) -> StoredReply | None:
        # Two statements: the second one's snapshot must be newer than the lock.
        locked = (await tx.execute(_TRY_LOCK, {"scope": key.scope, "key": key.key})).scalar_one()
        if not locked:
            raise Problem(409, "idempotency_in_progress", headers={"retry-after": "1"})
        return (await find_replies(tx, [key])).get(key)


async def key_of(request: Request) -> StoredKey | None:
    """Return the request's Idempotency-Key, None without one; raises 401, and 422 for an unusable key."""
    told = request.headers.get(HEADER)
    if told is None:
        return None
    if not _KEY.fullmatch(told):
        detail: Text = {"zh": "应为 1 至 255 个可见的 ASCII 字符", "en": "must be 1 to 255 visible ASCII characters"}
        raise invalid([FieldError("", "invalid_format", detail, header=HEADER)])
    scope = f"{(await authenticate(request)).subject}\n{request.method} {request.scope['path']}"
    return StoredKey(scope, told, await digest_of(request))


async def _idempotent(
    request: Request,
    _key: Annotated[
        str | None,
        Header(alias=HEADER, description="Makes a repeat safe: the same key and request give the same reply."),
    ] = None,
) -> IdempotentRequest:
    return IdempotentRequest(await key_of(request))


Idempotent = Annotated[IdempotentRequest, Depends(_idempotent)]

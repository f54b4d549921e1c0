"""A real OIDC issuer on the loopback: discovery document and key set over HTTP, keys that rotate, and outages."""

import asyncio
import json
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey

from shared.auth.issuer_keys import DISCOVERY

AUDIENCE = "salesgrain"


def new_key(key_id: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": key_id, "use": "sig"})


class Issuer:
    """Serves what its attributes say; `asked` counts the requests by path."""

    def __init__(self) -> None:
        self.port = 0
        self.keys: list[Any] = [new_key("one")]
        self.more: list[dict[str, Any]] = []
        self.issuer: str | None = None
        self.jwks_uri: str | None = None
        self.status = 200
        self.raw: bytes | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/realms/sales"

    @property
    def fetches(self) -> int:
        return self.asked["/keys"]

    def token(self, now: datetime, *, key: Any = None, algorithm: str = "ES256", **changed: Any) -> str:
        """Sign a token of an admin, with the newest key unless another is given."""
        signing = key or self.keys[-1]
        seconds = int(now.timestamp())
        told = {"iss": self.url, "aud": AUDIENCE, "sub": "u1", "role": "admin", "iat": seconds, "exp": seconds + 300}
        claims = {name: value for name, value in {**told, **changed}.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode({"alg": algorithm, "kid": signing.kid}, claims, signing, algorithms=[algorithm])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.decode().split(" ")[1]
                self.asked[path] += 1
                await self.answering.wait()
                body = self.raw if self.raw is not None else json.dumps(self._document(path)).encode()
                writer.write(f"HTTP/1.1 {self.status} Told\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The client hung up, or the test is over.
            return
        finally:
            writer.close()

    def _document(self, path: str) -> Any:
        if path == "/realms/sales" + DISCOVERY:
            keys = self.jwks_uri or f"http://127.0.0.1:{self.port}/keys"
            return {"issuer": self.issuer or self.url, "jwks_uri": keys}
        return {"keys": [*self.more, *(key.as_dict(private=False) for key in self.keys)]}


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
    issuer.port = server.sockets[0].getsockname()[1]
    try:
        yield issuer
    finally:
        issuer.answering.set()
        server.close()

"""The public keys of an OIDC issuer, fetched over HTTP, kept fresh in the background, kept when the issuer is down.

No request waits for a refresh: while a good set is at hand it is used, and at most one fetch is under way. Only a key
that nobody has seen makes its request wait, once per COOLDOWN: strangers' key ids must not make us ask for ever.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, import_key

from shared.clock import Clock, utc_now
from shared.http_client import HttpClient, HttpFailure
from shared.logging import get_logger

log = get_logger(__name__)

FRESH_SECONDS = 600.0
COOLDOWN_SECONDS = 30.0
# While there is no set at all nobody can be let in: asked again sooner.
FIRST_COOLDOWN_SECONDS = 2.0
KEPT_SECONDS = 24 * 3600.0
FETCH_SECONDS = 5.0
LARGEST_DOCUMENT = 1024 * 1024
DISCOVERY = "/.well-known/openid-configuration"
# Only keys that can verify a signature: an encryption key is none, and a symmetric one has no place in a public set.
_ASYMMETRIC = ("EC", "RSA", "OKP")
_NOTHING = KeySet([])


class IssuerUnusable(ValueError):  # noqa: N818 - the name of the fact
    """The issuer answered, but not with what its keys can be taken from."""


class IssuerKeys:
    """The key set of `issuer`: from `url`, or from where its discovery document says it is."""

    def __init__(self, http: HttpClient, issuer: str, url: str | None = None, *, clock: Clock = utc_now) -> None:
        self._http = http
        self._issuer = issuer
        self._url = url
        self._clock = clock
        self._keys = _NOTHING
        self._document: Mapping[str, Any] | None = None
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._flight: asyncio.Task[None] | None = None
        self._failure = "nothing was asked for yet"

    def present(self, now: float) -> KeySet:
        """Return the keys in force at `now` (seconds since the epoch), empty when there are none; begins a refresh."""
        age = now - self._fetched_at
        if age >= FRESH_SECONDS and now - self._asked_at >= COOLDOWN_SECONDS:
            self._begin(now)
        if age >= KEPT_SECONDS:
            self._keys, self._document = _NOTHING, None
        return self._keys

    async def prepare_for(self, key_id: str | None) -> None:
        """Wait (a bounded time) for a fetch when `key_id` is not at hand and the pause since the last one is over."""
        now = self._clock().timestamp()
        keys = self.present(now)
        if keys and (key_id is None or any(key.kid == key_id for key in keys)):
            return
        if now - self._asked_at >= (COOLDOWN_SECONDS if keys else FIRST_COOLDOWN_SECONDS):
            self._begin(now)
        if self._flight is not None:
            # Shielded: one caller who hangs up must not take the keys from all who wait.
            await asyncio.shield(self._flight)

    async def check(self) -> str | None:
        """Return why no token can be verified yet, or None; what /readyz asks."""
        await self.prepare_for(None)
        return None if self._keys else f"no keys of {self._issuer} yet: {self._failure}"

    def _begin(self, now: float) -> None:
        if self._flight is None:
            self._asked_at = now
            self._flight = asyncio.get_running_loop().create_task(self._fetch(), name="auth:keys")

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                document = await self._read(self._url or await self._discover())
            self._adopt(document)
        except Exception as error:  # noqa: BLE001 - the boundary of a task: whatever went wrong, the last good set stays
            self._failure = str(error) or type(error).__name__
            log.warning("issuer_keys_not_fetched", issuer=self._issuer, reason=self._failure)
        finally:
            self._flight = None

    def _adopt(self, document: Mapping[str, Any]) -> None:
        if document != self._document:
            self._keys, self._document = _key_set(document), document
            log.info("issuer_keys_changed", issuer=self._issuer, keys=len(self._keys.keys))
        self._fetched_at = self._clock().timestamp()

    async def _discover(self) -> str:
        document = await self._read(self._issuer.rstrip("/") + DISCOVERY)
        # OpenID Connect Discovery 4.3: exactly equal, or another's document could be passed off as this issuer's.
        if document.get("issuer") != self._issuer:
            message = f"the discovery document is of the issuer {document.get('issuer')!r}, not of {self._issuer!r}"
            raise IssuerUnusable(message)
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            message = "the discovery document names no jwks_uri"
            raise IssuerUnusable(message)
        if self._issuer.startswith("https://") and not url.startswith("https://"):
            message = f"the discovery document names the unprotected jwks_uri {url!r}"
            raise IssuerUnusable(message)
        return url

    async def _read(self, url: str) -> Mapping[str, Any]:
        try:
            answer = await self._http.request("GET", url, headers={"accept": "application/json"})
        except HttpFailure as failure:
            message = f"{url} did not answer: {failure}"
            raise IssuerUnusable(message) from failure
        if not answer.ok or len(answer.body) > LARGEST_DOCUMENT:
            message = f"{url} answered {answer.status} with {len(answer.body)} bytes"
            raise IssuerUnusable(message)
        found = json.loads(answer.body)
        if not isinstance(found, dict):
            message = f"{url} answered with something that is no JSON object"
            raise IssuerUnusable(message)
        return found


def _key_set(document: Mapping[str, Any]) -> KeySet:
    told = document.get("keys")
    keys = [key for key in map(_key, told if isinstance(told, list) else []) if key is not None]
    if not keys:
        message = "the key set has no key that verifies signatures"
        raise IssuerUnusable(message)
    return KeySet(keys)


def _key(told: Any) -> Key | None:
    """Return one key; None for what cannot verify: RFC 7517 has such keys ignored, and the others used."""
    if not isinstance(told, dict) or told.get("kty") not in _ASYMMETRIC or told.get("use", "sig") != "sig":
        return None
    try:
        return import_key(cast("Any", told))
    except (JoseError, ValueError, KeyError, TypeError):
        return None

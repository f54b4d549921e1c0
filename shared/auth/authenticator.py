"""Who a bearer token speaks for: a token of the issuer, an API key, or another service."""

import hmac

from shared.auth.api_keys import ApiKeys, looks_like_key
from shared.auth.principal import Principal
from shared.auth.tokens import TokenVerifier

SERVICE = Principal("service", "admin")


class Authenticator:
    """The three kinds of bearer tokens behind one door.

    `known` is a look-up and answers for what came before; `admit` may ask the database or the issuer.
    """

    def __init__(self, verifier: TokenVerifier, api_keys: ApiKeys, service_token: str | None = None) -> None:
        self.verifier = verifier
        self.api_keys = api_keys
        self._service_token = service_token.encode() if service_token else None

    def known(self, token: str) -> Principal | None:
        """Return whom a token speaks for that is remembered; None when `admit` must find out."""
        return self.verifier.known(token) or self.api_keys.known(token)

    async def admit(self, token: str) -> Principal:
        """Return whom `token` speaks for; raises TokenRefused."""
        if self._service_token is not None and hmac.compare_digest(_bytes(token), self._service_token):
            return SERVICE
        if looks_like_key(token):
            return await self.api_keys.admit(token)
        return await self.verifier.admit(token)


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")

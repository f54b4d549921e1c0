"""From settings to the verifier of tokens: a key set in a file, at a URL, or where the issuer says."""

from shared.auth.claims import ClaimPaths
from shared.auth.issuer_keys import IssuerKeys
from shared.auth.tokens import TokenVerifier
from shared.clock import Clock, utc_now
from shared.http_client import HttpClient
from shared.settings import Settings


def open_verifier(settings: Settings, http: HttpClient, *, clock: Clock = utc_now) -> TokenVerifier | None:
    """Return the verifier that `settings` describe; None when nothing says where the issuer's keys are.

    AUTH_JWKS_FILE wins over AUTH_JWKS_URL, and that over discovery at AUTH_ISSUER, which must be a URL then. Over HTTP
    nothing is asked before the first token or readiness check. Raises OSError or ValueError for an unusable file.
    """
    claims = ClaimPaths(settings.auth_roles_claim, settings.auth_person_claim)
    issuer, audience = settings.auth_issuer, settings.auth_audience
    if settings.auth_jwks_file is not None:
        return TokenVerifier.from_file(settings.auth_jwks_file, issuer, audience, clock=clock, claims=claims)
    if settings.auth_jwks_url is None and not issuer.startswith(("https://", "http://")):
        return None
    keys = IssuerKeys(http, issuer, settings.auth_jwks_url, clock=clock)
    return TokenVerifier(keys, issuer, audience, clock=clock, claims=claims)

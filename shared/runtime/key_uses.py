"""Tells the owner of API keys when each was last used here: once a minute, for all of them, best effort."""

from datetime import timedelta

import msgspec

from shared.auth.authenticator import Authenticator
from shared.clock import rfc3339
from shared.http_client import HttpFailure
from shared.logging import get_logger
from shared.runtime.service import Job, Peers, Service

log = get_logger(__name__)

EVERY = timedelta(minutes=1)
PATH = "/goals/v1/api-key-uses"
LARGEST_REPORT = 1000


def report_key_uses(service: Service, peers: Peers) -> Job:
    """Return the job: no request writes a use, and a use that cannot be told is told with the next ones."""
    authenticator: Authenticator = service.app.state.authenticator
    keys = authenticator.api_keys

    async def report() -> None:
        uses = list(keys.take_uses().items())
        while uses:
            told, uses = uses[:LARGEST_REPORT], uses[LARGEST_REPORT:]
            items = [{"id": str(key_id), "at": rfc3339(at)} for key_id, at in told]
            body = msgspec.json.encode({"items": items})
            try:
                answer = await peers.goals.request(
                    "POST", PATH, headers={"content-type": "application/json"}, body=body
                )
                reason = None if answer.ok else f"answered {answer.status}"
            except HttpFailure as failure:
                reason = str(failure)
            if reason is not None:
                keys.give_back(dict([*told, *uses]))
                log.info("key_uses_not_told", reason=reason)
                return

    return Job("api_key_uses", EVERY, report)

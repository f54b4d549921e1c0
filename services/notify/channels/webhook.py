"""Signed webhooks as Standard Webhooks has them, sent only to addresses of the public internet."""

import asyncio
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from standardwebhooks import Webhook as Signer

from services.notify.channels.channel import Means
from services.notify.domain.delivery import Delivered, Outcome, Parcel, Refused, Retry
from services.notify.domain.targets import (
    Address,
    BadTarget,
    Target,
    is_public,
    literal_address,
    parse_target,
    refuse_internal_name,
)
from shared.http_client import Answer, HttpFailure

_GONE = 410
_RESOLVE_SECONDS = 3


class UnknownHost(Exception):  # noqa: N818 - the name of the fact
    """The host's name does not resolve, at least not now."""


class Webhook:
    """POSTs parcels; the address that was checked is the address that is called, so a name cannot be rebound."""

    def __init__(self, means: Means) -> None:
        self._http = means.http
        self._timeout = means.timeout
        self._allow_private = means.allow_private

    async def check(self, url: str | None) -> None:
        if url is None:
            raise BadTarget("missing", "a webhook needs a URL")
        target = parse_target(url)
        try:
            await self._address(target)
        except UnknownHost:
            # A name that does not resolve yet may do so later: it is checked again before every attempt.
            return

    async def send(self, parcel: Parcel) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                answer = await self._post(parcel)
        except BadTarget as refused:
            return Refused(f"{refused.code}: {refused}")
        except (HttpFailure, UnknownHost, TimeoutError) as failure:
            return Retry(str(failure) or "no answer in time")
        return _outcome(answer, parcel.at)

    async def _post(self, parcel: Parcel) -> Answer:
        target = parse_target(parcel.url or "")
        address = await self._address(target)
        headers = {**signed_headers(parcel), "host": target.authority, "content-type": "application/json"}
        if target.scheme == "https":
            # A pooled connection is found by its address: it must not serve another name at the same address.
            headers["connection"] = "close"
        return await self._http.request(
            "POST",
            target.pinned(address),
            headers=headers,
            body=parcel.body,
            extensions={"sni_hostname": target.host},
            read_body=False,
        )

    async def _address(self, target: Target) -> Address:
        """Return the address to call; raises BadTarget when any address of the host is not public."""
        if not self._allow_private and literal_address(target.host) is None:
            refuse_internal_name(target)
        addresses = await _resolve(target)
        if not self._allow_private and not all(map(is_public, addresses)):
            raise BadTarget("target_refused", "the address is not on the public internet")
        if any(address.is_multicast or address.is_unspecified for address in addresses):
            raise BadTarget("target_refused", "the address is no single host")
        return addresses[0]


async def _resolve(target: Target) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        message = f"{target.host} does not resolve"
        raise UnknownHost(message) from None
    return [ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


def signed_headers(parcel: Parcel) -> Mapping[str, str]:
    """Return the three headers of Standard Webhooks for a parcel."""
    message_id = parcel.delivery.message_id
    signature = Signer(parcel.secret or "").sign(message_id, parcel.at, parcel.body.decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(parcel.at.timestamp())),
        "webhook-signature": signature,
    }


def _outcome(answer: Answer, now: datetime) -> Outcome:
    if answer.ok:
        return Delivered(answer.status)
    if answer.status == _GONE:
        return Refused("the target is gone", answer.status, disable=True)
    return Retry(f"the target answered {answer.status}", answer.status, _retry_after(answer, now))


def _retry_after(answer: Answer, now: datetime) -> timedelta | None:
    """Return how long the target wants to be left alone: seconds or a date."""
    told = answer.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return timedelta(seconds=min(int(told), 10**7))
    try:
        moment = parsedate_to_datetime(told)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) - now

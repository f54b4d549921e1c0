"""The replicas of one service: found by name again and again, asked whether they are ready, taken in turn."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.http_client import HttpClient, HttpFailure
from shared.logging import get_logger
from shared.metrics import GATEWAY_REPLICAS

log = get_logger(__name__)

PROBE_SECONDS = 1.0
# More than a check within it may take: a replica that is degraded answers late, and is ready all the same.
PROBE_WITHIN_SECONDS = 4.0
LOOK_UP_SECONDS = 3.0


@dataclass(slots=True)
class Replica:
    """One address (`http://10.0.0.3:8080`), and whether it said last that it is ready."""

    url: str
    ready: bool = False


class Replicas:
    """Those behind `urls`: addresses separated by commas, each a URL whose name may stand for several hosts."""

    def __init__(self, service: str, urls: str) -> None:
        self.service = service
        self._urls = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
        self._known: dict[str, Replica] = {}
        self._turn = 0

    @property
    def ready(self) -> int:
        return sum(replica.ready for replica in self._known.values())

    @property
    def known(self) -> int:
        return len(self._known)

    def in_turn(self) -> Iterator[Replica]:
        """Yield the ready ones, beginning with the one whose turn it is, then the others.

        The others too: when all say that they are not ready, each still answers better for itself than we can.
        """
        self._turn += 1
        every = list(self._known.values())
        first = self._turn % len(every) if every else 0
        turned = every[first:] + every[:first]
        yield from [replica for replica in turned if replica.ready]
        yield from [replica for replica in turned if not replica.ready]

    async def look_up(self) -> None:
        """Find the addresses behind the names anew; a name that cannot be resolved now keeps those it had."""
        found = await asyncio.gather(*(_addresses_of(url) for url in self._urls))
        if any(addresses is None for addresses in found):
            wanted = set(self._known)
            wanted.update(*(addresses for addresses in found if addresses))
        else:
            wanted = set().union(*(addresses or () for addresses in found))
        if wanted != self._known.keys():
            log.info("replicas", service=self.service, addresses=sorted(wanted))
        self._known = {url: self._known.get(url) or Replica(url) for url in sorted(wanted)}

    async def probe(self, client: HttpClient) -> None:
        """Ask every replica's /readyz."""
        await asyncio.gather(*(self._ask(client, replica) for replica in self._known.values()))

    async def _ask(self, client: HttpClient, replica: Replica) -> None:
        try:
            answer = await asyncio.wait_for(client.request("GET", f"{replica.url}/readyz"), PROBE_WITHIN_SECONDS)
            ready, reason = answer.ok, str(answer.status)
        except (HttpFailure, TimeoutError) as error:
            ready, reason = False, str(error) or type(error).__name__
        if ready != replica.ready:
            log.info("replica", service=self.service, address=replica.url, ready=ready, reason=reason)
        replica.ready = ready

    async def watch(self, client: HttpClient) -> None:
        """Look up and probe until cancelled."""
        look_up_at = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            if clock() >= look_up_at:
                await self.look_up()
                look_up_at = clock() + LOOK_UP_SECONDS
            await self.probe(client)
            GATEWAY_REPLICAS.labels(self.service).set(self.ready)
            await asyncio.sleep(PROBE_SECONDS)


async def _addresses_of(url: str) -> set[str] | None:
    """Return a URL for each host behind a URL's name; None when the name cannot be resolved now."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme == "https" or _is_address(host):
        # A certificate is for the name, so that an address would not do.
        return {url}
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        log.warning("name_not_resolved", name=host, error=str(error))
        return None
    return {f"{parts.scheme}://{_in_url(str(address[0]))}:{port}" for *_, address in found}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address

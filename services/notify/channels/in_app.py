"""The inbox of a person, in this service's own database."""

from services.notify.channels.channel import Means
from services.notify.domain.delivery import Delivered, Outcome, Parcel
from services.notify.domain.targets import BadTarget


class InApp:
    """Writes inbox items; there is no URL and nothing can refuse."""

    def __init__(self, means: Means) -> None:
        self._post = means.post

    async def check(self, url: str | None) -> None:
        if url is not None:
            raise BadTarget("not_allowed", "an in-app channel has no URL")

    async def send(self, parcel: Parcel) -> Outcome:
        await self._post(parcel)
        return Delivered()

"""The ways out of notify: one file for each kind of channel, one line for each here."""

from collections.abc import Callable, Mapping

from services.notify.channels.channel import ChannelAdapter, Means
from services.notify.channels.in_app import InApp
from services.notify.channels.webhook import Webhook
from services.notify.domain.delivery import ChannelKind

REGISTRY: Mapping[ChannelKind, Callable[[Means], ChannelAdapter]] = {
    "webhook": Webhook,
    "in_app": InApp,
}


def adapters(means: Means) -> Mapping[ChannelKind, ChannelAdapter]:
    """Return one working adapter for each kind."""
    return {kind: make(means) for kind, make in REGISTRY.items()}

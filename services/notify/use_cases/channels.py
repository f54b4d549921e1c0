"""Channels: made, changed, removed; their targets are checked before."""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.channels.channel import ChannelAdapter
from services.notify.domain.channel import Channel
from services.notify.domain.delivery import ChannelKind
from services.notify.domain.refusal import Fault, Refusal, StillInUse
from services.notify.domain.targets import BadTarget
from services.notify.store import channels as channel_store
from services.notify.store import rules as rule_store
from shared.auth.principal import Principal
from shared.events.base import Names
from shared.ids import new_id
from shared.language import Text

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix is public
SECRET_BYTES = 32
_SECRET_LENGTHS = range(16, 65)

_TARGET_TEXTS: Mapping[str, Text] = {
    "missing": {"zh": "必填", "en": "is required"},
    "not_allowed": {"zh": "站内渠道没有网址", "en": "an in-app channel has none"},
    "invalid_url": {"zh": "应为 http 或 https 网址", "en": "must be a plain http or https URL"},
    "target_refused": {
        "zh": "不允许发送到内部或私有网络地址",
        "en": "must not lead into an internal or private network",
    },
}
_SECRET_TEXT: Text = {
    "zh": "应为 whsec_ 加 16 至 64 字节的 Base64",
    "en": "must be whsec_ and the Base64 of 16 to 64 bytes",
}


async def check_target(
    adapters: Mapping[ChannelKind, ChannelAdapter], kind: ChannelKind, url: str | None, secret: str | None
) -> None:
    """Raise Refusal when a channel of `kind` cannot have this URL or secret. Asks the name service: no transaction."""
    faults: list[Fault] = []
    try:
        await adapters[kind].check(url)
    except BadTarget as bad:
        code = "required" if bad.code == "missing" else bad.code
        faults.append(Fault("/url", code, _TARGET_TEXTS[bad.code]))
    if secret is not None and kind == "in_app":
        faults.append(Fault("/secret", "not_allowed", {"zh": "站内渠道没有密钥", "en": "an in-app channel has none"}))
    elif secret is not None and not _is_secret(secret):
        faults.append(Fault("/secret", "invalid_secret", _SECRET_TEXT))
    if faults:
        raise Refusal(faults)


async def create_channel(
    tx: AsyncConnection,
    kind: ChannelKind,
    name: str | Names | None,
    target: tuple[str | None, str | None],
    principal: Principal,
    now: datetime,
) -> Channel:
    """Write a channel whose `target` (URL and secret) has been checked; a webhook without a secret gets one."""
    url, secret = target
    channel = Channel(
        id=new_id(),
        kind=kind,
        name=name,
        url=url,
        secret=(secret or new_secret()) if kind == "webhook" else None,
        enabled=True,
        disabled_reason=None,
        created_by=principal.subject,
        created_at=now,
        version=1,
    )
    await channel_store.add(tx, channel)
    return channel


async def change_channel(tx: AsyncConnection, channel_id: UUID, change: Callable[[Channel], Channel]) -> Channel | None:
    """Apply `change` (which may raise) to the locked channel; null when there is none."""
    channel = await channel_store.find(tx, channel_id, lock=True)
    if channel is None:
        return None
    changed = replace(change(channel), version=channel.version + 1)
    await channel_store.save(tx, changed)
    return changed


async def delete_channel(tx: AsyncConnection, channel_id: UUID, check: Callable[[Channel], None]) -> bool:
    """Remove a channel; False when there is none; raises StillInUse and what `check` raises."""
    channel = await channel_store.find(tx, channel_id, lock=True)
    if channel is None:
        return False
    check(channel)
    rules = await rule_store.sending_to(tx, channel_id)
    if rules:
        raise StillInUse([str(rule_id) for rule_id in rules])
    await channel_store.remove(tx, channel_id)
    return True


def new_secret() -> str:
    """Return a fresh signing secret in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _is_secret(secret: str) -> bool:
    if not secret.startswith(SECRET_PREFIX):
        return False
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(key) in _SECRET_LENGTHS

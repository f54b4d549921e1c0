"""Owners as rows name them: both keys of a person mean the same person."""

from collections.abc import Mapping

from services.pipeline.domain.row import OwnerName
from services.pipeline.store.owners import Owner
from shared.auth.directory import EXTERNAL


def key_of_name(owner: OwnerName | None) -> str | None:
    """Return an owner key for a name, whether the person is known or not."""
    if owner is None:
        return None
    return str(owner.person_id) if owner.person_id else f"{EXTERNAL}{owner.external_id}"


def canonical_key(owners: Mapping[str, Owner], key: str | None) -> str | None:
    """Return the key under which to record an owner: the person's id as soon as it is known."""
    owner = owners[key] if key else None
    return str(owner.person_id) if owner and owner.person_id else key


def same_person(owners: Mapping[str, Owner], told: str | None, present: str | None) -> bool:
    """Tell whether two keys mean the same person: what was recorded before the person was known stays as it is."""
    return canonical_key(owners, told) == canonical_key(owners, present)

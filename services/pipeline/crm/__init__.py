"""What other systems send us: one file for each kind of source, one line in this registry for each file."""

from collections.abc import Mapping

from services.pipeline.crm.adapter import SourceKind
from services.pipeline.crm.standard_webhooks import StandardWebhooks

KINDS: Mapping[str, SourceKind] = {kind.name: kind for kind in (StandardWebhooks(),)}

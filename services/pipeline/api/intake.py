"""What imports, sources and webhooks answer alike."""

from uuid import UUID

from services.pipeline.domain.import_problems import Rejected
from shared.web.models import Answer
from shared.web.problems import FieldError, Problem, invalid


class AcceptedAnswer(Answer):
    """Something that is durable and will be worked on."""

    id: UUID
    status: str


def refused(rejected: Rejected) -> Problem:
    """Return the 422 of a mapping, file or setting that cannot be taken, with every problem at its pointer."""
    return invalid([FieldError(problem.where or "", problem.code, problem.text) for problem in rejected.problems])

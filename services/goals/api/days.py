"""Days as API models take them: ISO texts within a calendar that every computation stays in."""

from datetime import date
from typing import Annotated

from pydantic import Field

from shared.web.models import ISO_ONLY

Day = Annotated[date, Field(ge=date(1970, 1, 1), lt=date(2200, 1, 1)), ISO_ONLY]

"""A small organisation as goals tells it: head over red and blue; ann and ben in red, cid moves from red to blue."""

from datetime import date
from uuid import UUID

from shared.events.goals import Membership, PersonChanged, TeamChanged
from tests.services.kpi.deal_streams import RECORDED

HEAD, RED, BLUE = (UUID(int=number) for number in (1, 2, 3))
RITA, ANN, BEN, CID = (UUID(int=number) for number in (11, 12, 13, 14))
MOVED_ON = date(2026, 2, 1)

TEAMS = (
    TeamChanged(version=1, recorded_at=RECORDED, team_id=HEAD, external_id="head"),
    TeamChanged(version=1, recorded_at=RECORDED, team_id=RED, external_id="red", parent_id=HEAD, manager_id=RITA),
    TeamChanged(version=1, recorded_at=RECORDED, team_id=BLUE, external_id="blue", parent_id=HEAD),
)
PEOPLE = (
    PersonChanged(version=1, recorded_at=RECORDED, person_id=RITA, external_id="rita", role="manager"),
    PersonChanged(
        version=1, recorded_at=RECORDED, person_id=ANN, external_id="ann", role="rep",
        memberships=(Membership(RED, None, None),),
    ),
    PersonChanged(
        version=1, recorded_at=RECORDED, person_id=BEN, external_id="ben", role="rep",
        memberships=(Membership(RED, None, None),),
    ),
    PersonChanged(
        version=1, recorded_at=RECORDED, person_id=CID, external_id="cid", role="rep",
        memberships=(Membership(RED, None, MOVED_ON), Membership(BLUE, MOVED_ON, None)),
    ),
)  # fmt: skip

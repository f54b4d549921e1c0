"""Faultpoints do nothing unless armed, strike once, and never in production."""

import subprocess
import sys

import pytest

from shared.db.faultpoints import KILLED, Crashed, armed, counted, crash, faultpoint

CHILD = """
from shared.db.faultpoints import arm_from_environment, faultpoint
arm_from_environment()
for _ in range(3):
    faultpoint("relay.sent")
    print("passed", flush=True)
"""


def test_unarmed_they_are_nothing() -> None:
    faultpoint("relay.sent")
    with armed("relay.sent", 1, crash):
        faultpoint("relay.read")
    faultpoint("relay.sent")


def test_they_strike_at_the_chosen_hit_only() -> None:
    with counted() as reached, armed("relay.sent", 2, crash):
        faultpoint("relay.sent")
        with pytest.raises(Crashed):
            faultpoint("relay.sent")
        faultpoint("relay.sent")
    assert reached == {"relay.sent": 3}


def test_no_handler_of_errors_sees_a_crash() -> None:
    assert not issubclass(Crashed, Exception)


@pytest.mark.parametrize(
    ("environment", "code", "passed"),
    [
        ({"FAULTPOINT": "relay.sent:2"}, KILLED, 1),
        ({"FAULTPOINT": "relay.sent"}, KILLED, 0),
        ({"FAULTPOINT": "relay.read:1"}, 0, 3),
        ({}, 0, 3),
        ({"FAULTPOINT": "relay.sent:2", "ENVIRONMENT": "production"}, 0, 3),
    ],
)
def test_a_child_is_killed_where_its_environment_says(environment: dict[str, str], code: int, passed: int) -> None:
    child = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout.count("passed")) == (code, passed), child.stderr

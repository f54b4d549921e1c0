"""The deliberate defects of `make defects` are built into code that is there."""

from pathlib import Path

import pytest

from tests.faults.defects.catalogue import DEFECTS, Defect

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_has_its_place_and_its_tests(defect: Defect) -> None:
    assert (ROOT / defect.file).read_text(encoding="utf-8").count(defect.find) == 1
    assert defect.find != defect.replace
    assert all((ROOT / test.split("::")[0]).exists() for test in defect.tests)

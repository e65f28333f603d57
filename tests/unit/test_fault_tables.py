"""The tables of what can go wrong name tests that exist."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TABLES = ("scripts/README.md", "scripts/launch/README.md")


@pytest.mark.parametrize("page", TABLES)
def test_every_fault_names_its_test(page):
    code = "\n".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)", code, flags=re.MULTILINE))
    rows = re.findall(r"^\| .* \|$", (ROOT / page).read_text(), flags=re.MULTILINE)
    faults = [row.split(" | ") for row in rows if "`test_" in row or "the same" in row]
    assert len(faults) >= 6
    for cells in faults:
        assert len(cells) == 5, cells[0]
        named = re.findall(r"`(test_\w+)`", cells[-1])
        assert named or "the same" in cells[-1]
        assert set(named) <= tests, cells[-1]

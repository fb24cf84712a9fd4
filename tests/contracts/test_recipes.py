"""What CONTRIBUTING says that an addition touches is what the examples of additions touch."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "rep_kedro"
ROWS = re.findall(
    r"^\| ([a-z ]+) \| (\d+) \| `(\w+)`: (.+) \|$",
    (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
    flags=re.MULTILINE,
)


@pytest.fixture(scope="module")
def sources():
    paths = [path for folder in (PACKAGE, ROOT / "conf" / "base") for path in folder.rglob("*")]
    return {path: path.read_text("utf-8") for path in paths if path.suffix in {".py", ".yml", ".csv"}}


@pytest.mark.parametrize(("addition", "count", "name", "listed"), ROWS, ids=[row[0] for row in ROWS])
def test_the_example_of_an_addition_is_named_in_these_files_alone(addition, count, name, listed, sources):
    files = re.findall(r"`([^`]+)`", listed)
    wanted = {ROOT / file if file.startswith("conf/") else PACKAGE / file for file in files}
    named = re.compile(rf"\b{name}\b", flags=re.IGNORECASE)
    assert {path for path, text in sources.items() if named.search(text)} == wanted
    assert len(files) == int(count)


def test_every_addition_has_an_example():
    assert {row[0] for row in ROWS} >= {
        *("column of a table", "table", "similarity measure", "network source"),
        *("stimulus source", "objective", "monitor", "figure"),
    }

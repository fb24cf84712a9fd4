"""``kedro measures`` tells of every measure all that it declares, in columns."""

import re

import pytest
from click.testing import CliRunner

from rep_kedro.commands.measures import LETTERS, command
from rep_kedro.measures import MEASURES, Invariance


def shown(*arguments):
    answer = CliRunner().invoke(command, list(arguments))
    assert answer.exit_code == 0
    return answer.stdout.splitlines()


@pytest.fixture(scope="module")
def rows():
    lines = shown()
    header, table = lines[0], lines[1 : 1 + len(MEASURES)]
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    ends = [*starts[1:], None]
    columns = header.split()
    cells = [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in table]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in cells}


def test_every_measure_has_one_row(rows):
    assert list(rows) == list(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_a_row_says_what_the_measure_declares(name, rows):
    measure, row = MEASURES[name], rows[name]
    low, high = (float(end) for end in row["range"].split(" to "))
    assert (low, high) == pytest.approx(measure.value_range, abs=1e-5)
    assert row["direction"].startswith("similarity") == measure.larger_is_more_similar
    assert row["direction"].endswith("directed") != measure.symmetric
    assert row["stimuli"] == str(measure.fewest_stimuli)
    assert row["inference"].startswith("null") == (measure.inference is not None)
    assert row["inference"].endswith("interval") == measure.has_interval
    assert row["title"] == measure.title
    assert row["source"].startswith(measure.source)
    kept = {i for i, letter in zip(Invariance, LETTERS, strict=True) if letter in row["unchanged"]}
    assert kept == measure.invariances


def test_letters_are_explained_below_the_table():
    lines = shown("--family", "linear_map")
    for invariance, letter in zip(Invariance, LETTERS, strict=True):
        used = any(invariance in m.invariances for m in MEASURES.values() if m.family.name == "LINEAR_MAP")
        assert (f"  {letter}: {invariance.value}" in lines) == used
    assert (
        "  r_a, r_b: ranks of the centred features (their number if they are linearly independent)" in lines
    )


def test_a_family_that_is_unknown_is_answered_with_those_there_are():
    answer = CliRunner().invoke(command, ["--family", "kernels"])
    assert answer.exit_code == 1
    assert "unknown family 'kernels'; known: alignment, cka, " in answer.output

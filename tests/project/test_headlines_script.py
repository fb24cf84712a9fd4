"""``benchmarks/headlines_across_seeds.py`` finds where two reports contradict each other."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.project.conftest import ROOT

from rep_kedro.reporting.headlines import Ranking, ends_in_words

AHEAD = "(0.67, at least 0.13 from every other)."
FIRST = {
    "By objective, ... pairs are most similar": "supervised / VICReg",
    "By objective, ... pairs are least consistent": "image / text, a.b",
    "Networks of ... are more similar": "the same objective",
    "... pairs have the most errors in common": "SimCLR",
    "On digits, ... networks read out best": "supervised",
    "In small ResNet the fullest layer is ... (mean saturation)": "block3.relu2",
    "Of these networks, ensembles of 3 are most accurate when chosen as “...”": "most accurate",
}
OPEN = "By objective, which pairs are least similar is undecided: none of the 10 is clearly ahead."


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script, imported."""
    path = ROOT / "benchmarks/headlines_across_seeds.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(winners: dict[str, str]) -> str:
    """Return a report that names these winners, with words in its drawings and tables that name others."""
    shown = [f"{what.replace('...', name)} {AHEAD}" for what, name in winners.items()]
    hidden = f"Networks of nobody are more similar {AHEAD}"
    sentences = "".join(f"<p>{sentence.replace('“', '&ldquo;')}</p>\n" for sentence in (*shown, OPEN))
    drawn = f"<svg><text>{hidden}</text></svg><table><tr><td>{hidden}</td></tr></table>"
    return (
        f"<html><style>p {{}}</style><h2>Who is alike?</h2>{sentences}{drawn}<script>{hidden}</script></html>"
    )


@pytest.fixture
def compare(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return the script's exit code for made-up reports, one for each base seed."""

    def run(*reports: str) -> int:
        by_seed = {100 * place: script.text_of(report) for place, report in enumerate(reports)}
        monkeypatch.setattr(script, "train_from", lambda seed, folder: by_seed[seed])
        arguments = ["--folder", str(tmp_path), "--base-seeds", *map(str, by_seed)]
        monkeypatch.setattr(sys, "argv", ["headlines_across_seeds.py", *arguments])
        code: int = script.main()
        return code

    return run


def test_every_winner_is_found_with_its_whole_name(script: ModuleType) -> None:
    assert script.winners_of(script.text_of(page(FIRST))) == FIRST


def test_equal_reports_contradict_each_other_nowhere(compare: Any, capsys: Any) -> None:
    assert compare(page(FIRST), page(FIRST)) == 0
    shown = capsys.readouterr().out
    assert "base seed 100: " in shown
    assert "1 left open" in shown
    assert shown.endswith("0 contradictions\n")


@pytest.mark.parametrize("what", FIRST)
def test_another_winner_is_a_contradiction(what: str, compare: Any, capsys: Any) -> None:
    assert compare(page(FIRST), page({**FIRST, what: "someone else"})) == 1
    assert capsys.readouterr().out.endswith(
        f"1 contradictions\n{what}: {FIRST[what]} from seed 0, someone else from seed 100\n"
    )


def test_every_pair_of_reports_is_compared(compare: Any, capsys: Any) -> None:
    changed = {**FIRST, "Networks of ... are more similar": "different objectives"}
    assert compare(page(FIRST), page(FIRST), page(changed)) == 1
    assert "\n2 contradictions\n" in capsys.readouterr().out


def test_a_winner_that_only_one_report_names_is_none(compare: Any, capsys: Any) -> None:
    assert compare(page(FIRST), page({})) == 0
    assert capsys.readouterr().out.endswith("\n0 contradictions\n")


def test_a_headline_of_an_unknown_kind_is_not_passed_over(script: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"unknown kind of headline, .*HEADLINES: 'Blue is prettiest"):
        script.winners_of(f"All is well. Blue is prettiest {AHEAD}")


def test_the_report_words_its_headlines_as_the_script_reads_them(script: ModuleType) -> None:
    ahead = Ranking(("one", "two"), (0.9, 0.1), 0, (), 0.5)
    behind = Ranking(("one", "two"), (0.9, 0.1), 1, (), 0.5)
    shown = ends_in_words(ahead, behind, "By objective, {name} pairs are {end} similar", "Which {end}")
    assert script.winners_of(" ".join(shown)) == {
        "By objective, ... pairs are most similar": "one",
        "By objective, ... pairs are least similar": "two",
    }

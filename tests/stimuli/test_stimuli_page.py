"""The page about stimuli says what is so."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from rep_kedro.stimuli.params import IngestParams
from rep_kedro.stimuli.sources import AnySource
from rep_kedro.stimuli.subsets import AnyRule

PAGE = (Path(__file__).parents[2] / "docs" / "stimuli.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: next(iter(block)))
def test_the_pages_examples_are_valid(block, monkeypatch):
    monkeypatch.setenv("SHARDS", "/shards")
    IngestParams(stimulus_sets=block)


def _names(union, key):
    """Return the names by which parameters choose among the models of a union."""
    return [model.model_fields[key].default for model in get_args(get_args(union)[0])]


def test_every_source_rule_and_label_map_is_named():
    used = {entry["source"] for block in BLOCKS for entry in block.values()}
    maps = (Path(__file__).parents[2] / "src/rep_kedro/stimuli/label_maps").glob("*.yml")
    sources, rules = _names(AnySource, "source"), _names(AnyRule, "rule")
    assert used | {"photograph_patches", "shapes"} == set(sources)
    for name in (*sources, *rules, *(path.stem for path in maps)):
        assert f"`{name}`" in PAGE or f"source: {name}" in PAGE or f" {name} " in PAGE, name


def test_each_source_is_three_lines_or_a_fourth_that_it_needs():
    assert {len(entry) for block in BLOCKS[:1] for entry in block.values()} <= {1, 2, 3}

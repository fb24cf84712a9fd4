"""The page on pretraining has the defaults of the objectives and of the monitor of collapses."""

import re
from pathlib import Path

import pytest
import yaml

from rep_kedro.training.monitors.collapse import CollapseSettings
from rep_kedro.training.objectives.registry import OBJECTIVES
from rep_kedro.training.objectives.two_views import TwoViewObjective

PAGE = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text(encoding="utf-8")


def default(settings, option):
    return settings.model_fields[option].get_default(call_default_factory=True)


@pytest.mark.parametrize("name", ["simclr", "vicreg", "vicreg_exp", "barlow_twins", "byol"])
def test_each_objective_has_the_defaults_of_its_row(name):
    (cell,) = re.findall(rf"^\| `{name}` \| (.+?) \|", PAGE, re.MULTILINE)
    documented = {option: float(value) for option, value in re.findall(r"`(\w+)` (\d+\.?\d*)", cell)}
    own = OBJECTIVES[name].model_fields.keys() - TwoViewObjective.model_fields.keys()
    assert documented.keys() == own
    assert documented == {option: default(OBJECTIVES[name], option) for option in own}


@pytest.mark.parametrize(
    ("title", "settings"), [("DINO", OBJECTIVES["dino"]), ("Watch for a collapse", CollapseSettings)]
)
def test_each_row_of_options_has_their_defaults(title, settings):
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", section, re.MULTILINE)
    assert rows
    for names, values in rows:
        documented = yaml.safe_load(f"[{values}]".replace("`", ""))
        assert documented == [default(settings, option) for option in re.findall(r"`(\w+)`", names)]

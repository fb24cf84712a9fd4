"""Names of the folders of exported results: one for each network, safe on every file system."""

import re

from rep_kedro.analyses.selection.result_tree import name_folders


def _settings(objective="simclr", **settings):
    return {"objective": objective, "seed": "0", "schedule.epochs": "3"} | settings


def test_a_folder_names_what_differs_within_the_method_and_the_seed():
    found = name_folders(
        {
            "a": _settings(temperature="0.1"),
            "b": _settings(temperature="0.2"),
            "c": _settings(temperature="0.2", seed="1"),
            "d": _settings("vicreg", temperature="9"),
        }
    )
    assert found == {
        "a": "simclr/seed=0,temperature=0.1",
        "b": "simclr/seed=0,temperature=0.2",
        "c": "simclr/seed=1,temperature=0.2",
        "d": "vicreg/seed=0",
    }


def test_equal_or_hostile_names_never_meet_or_lead_out():
    found = name_folders(
        {
            "twin_1": _settings(),
            "twin_2": _settings(),
            "up": _settings("../..", path="/etc"),
            "dots": _settings("..", path="a"),
            "upper": _settings("x", word="Ab"),
            "lower": _settings("x", word="aB"),
            "long": _settings("y", word="w" * 300),
            "short": _settings("y", word="w"),
        }
    )
    assert found["twin_1"] == "simclr/network=twin_1"
    assert found["long"] == "y/network=long"
    assert found["upper"] == "x/network=upper"
    assert len({folder.lower() for folder in found.values()}) == len(found)
    for folder in found.values():
        assert re.fullmatch(r"[\w=,+@-][\w.=,+@-]*/[\w=,+@-][\w.=,+@-]*", folder), folder

"""Paths in parameters: environment variables are filled in, and an empty one counts as not set."""

from pathlib import Path

import pytest

from rep_kedro.errors import UserError
from rep_kedro.models.files import require_file
from rep_kedro.models.places import FilePlace
from rep_kedro.parameter_rules import expand_path
from rep_kedro.stimuli.sources import parse_source


def test_variables_and_the_home_folder_are_filled_in(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_PLACE", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/someone")
    assert expand_path("$SOME_PLACE/a", "x") == expand_path("${SOME_PLACE}/a", "x") == tmp_path / "a"
    assert expand_path(Path("~/b"), "x") == Path("/home/someone/b")
    monkeypatch.setenv("SOME_PLACE", "/has $ in it")
    assert expand_path("$SOME_PLACE", "x") == Path("/has $ in it")


@pytest.mark.parametrize("path", ["$A_PLACE/f", "${A_PLACE}/f", "a/$A_PLACE"])
def test_a_variable_without_a_value_is_refused_wherever_a_path_is_read(monkeypatch, path):
    for value, state in ((None, "not set$"), ("", r"not set \(it is empty\)$")):
        if value is None:
            monkeypatch.delenv("A_PLACE", raising=False)
        else:
            monkeypatch.setenv("A_PLACE", value)
        with pytest.raises(
            UserError, match=rf"^this names the environment variable A_PLACE, which is {state}"
        ):
            expand_path(path, "this")
        with pytest.raises(UserError, match=rf"weights .* variable A_PLACE, which is {state}"):
            require_file(FilePlace(path=path), "weights")
        with pytest.raises(ValueError, match="variable A_PLACE, which is not set"):
            parse_source({"source": "idx", "path": path})
        with pytest.raises(ValueError, match="variable A_PLACE, which is not set"):
            parse_source({"source": "idx", "path": "x", "label_map": f"{path}.yml"})

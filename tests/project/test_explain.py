"""Which errors are shown as one line, and which keep their traceback."""

import errno

import pytest
import torch
from kedro.io import DatasetError
from kedro.validation import DataValidationError
from pydantic import BaseModel, ValidationError

from rep_kedro.commands.explain import explain
from rep_kedro.datasets import CollectionError, DamagedMemberError
from rep_kedro.errors import MissingFileError, NotFiniteError, UserError
from rep_kedro.kernels.statistics.centring import centre_grams
from rep_kedro.stimuli.record import DamagedSourceError


def caught(act):
    """Return what an action raises, with its traceback."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of whatever kind
        act()
    return raised.value


def wrap(cause, verb="saving"):
    """Return what Kedro makes of an error in a dataset."""
    text = f"Failed while {verb} data {'to' if verb == 'saving' else 'from'} dataset features:x.\n{cause}"
    problem = DatasetError(text)
    problem.__cause__ = cause
    return problem


class Form(BaseModel):
    """One parameter."""

    n: int


@pytest.mark.parametrize(
    "kind", [UserError, MissingFileError, NotFiniteError, DamagedMemberError, CollectionError]
)
def test_errors_for_users_are_their_message(kind):
    assert issubclass(kind, UserError)
    assert explain(kind("no network 'x'; did you mean 'y'?")) == "no network 'x'; did you mean 'y'?"
    assert "no network 'x'" in explain(wrap(kind("no network 'x'")))


def test_a_node_is_named():
    problem = DamagedSourceError("a.png is truncated")
    problem.add_note("in node stimulus_sets")
    assert explain(problem) == "stimulus_sets: a.png is truncated"


def raise_value_error():
    raise ValueError("a check of a kernel")


@pytest.mark.parametrize(
    "bug",
    [
        lambda: centre_grams(torch.zeros(1, 3, 3)),  # a kernel's own check
        raise_value_error,
        lambda: int("x"),
        lambda: {}["missing"],
        lambda: 1 / 0,
        lambda: torch.ones(2) @ torch.ones(3),
        lambda: open("a\0b"),  # noqa: SIM115 - it cannot be opened
    ],
)
def test_any_other_error_keeps_its_traceback_wherever_it_happens(bug):
    problem = caught(bug)
    assert explain(problem) is None
    assert explain(wrap(problem)) is None
    assert explain(wrap(problem, "loading")) is None


def test_a_table_against_its_contract_is_a_line_and_a_failing_contract_is_not():
    broken = DataValidationError("columns are missing: a", dataset_name="similarities")
    broken.__cause__ = UserError("columns are missing: a")
    assert explain(broken) == "similarities breaks its contract in the catalog: columns are missing: a"
    broken.__cause__ = TypeError("the contract itself")
    assert explain(broken) is None


def test_errors_of_files_parameters_and_kedro_are_lines():
    full = OSError(errno.ENOSPC, "No space left on device", "data/a")
    assert explain(full).startswith("data/a: No space left on device")
    wrong = caught(lambda: Form(n="many"))
    assert isinstance(wrong, ValidationError)
    assert explain(wrong).startswith("n: should be a valid integer")
    assert explain(DatasetError("Dataset 'x' not found")) == "Dataset 'x' not found"

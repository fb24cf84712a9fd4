"""Optimisers and curves of one's own: they are used, are part of the recipe, and need to be allowed."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rep_kedro.checks.study_names import _forbidden_code
from rep_kedro.errors import UserError
from rep_kedro.training.optimizers import build_optimizer
from rep_kedro.training.params import TrainingParams
from rep_kedro.training.schedule import Schedule

CODE = """
import torch

class Signs(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = parameter.grad.sign()
        return super().step(closure)

def halve(progress, *, every):
    return 0.5 ** int(progress / every)

def wrong(groups, lr):
    return 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return str(path)


def _schedule(**settings):
    return Schedule(epochs=2, batch_size=8, learning_rate=0.1, warmup_fraction=0, **settings)


def test_own_optimizers_take_the_steps(file):
    schedule = _schedule(own_optimizer={"file": file, "name": "Signs", "options": {"momentum": 0.0}})
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = build_optimizer([weight], schedule)
    weight.grad = torch.tensor([[2.0, -3.0], [0.0, 1.0]])
    optimizer.step()
    assert torch.equal(weight.detach(), torch.tensor([[-0.1, 0.1], [0.0, -0.1]]))


def test_own_curves_give_the_rate(file):
    schedule = _schedule(own_curve={"file": file, "name": "halve", "options": {"every": 0.5}})
    assert [schedule.rate(update, 2) for update in range(4)] == [0.1, 0.1, 0.05, 0.05]


def test_the_recipe_has_the_code_and_not_its_place(file, tmp_path):
    own = {"name": "halve", "options": {"every": 0.5}}
    recipe = _schedule(own_curve={"file": file, **own}).as_json()
    assert set(recipe["own_curve"]) == {"sha256", "name", "options"}
    (tmp_path / "again.py").write_text(CODE)
    assert _schedule(own_curve={"file": str(tmp_path / "again.py"), **own}).as_json() == recipe
    (tmp_path / "again.py").write_text(CODE + "\n")
    assert _schedule(own_curve={"file": str(tmp_path / "again.py"), **own}).as_json() != recipe
    assert "own_curve" not in _schedule().as_json()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ({"name": "Sign"}, "has no function or class 'Sign'; did you mean 'Signs'"),
        ({"name": "wrong"}, "wrong gives int, which is no torch optimiser"),
        ({"name": "Signs", "options": {"speed": 1}}, "Signs fails: TypeError"),
        ({"name": "Signs", "file": "nowhere.py"}, "nowhere.py: No such file"),
    ],
)
def test_code_that_does_not_fit_is_reported(file, code, message):
    schedule = _schedule(own_optimizer={"file": file, **code})
    with pytest.raises((UserError, OSError), match=message):
        build_optimizer([nn.Parameter(torch.zeros(2, 2))], schedule)


def test_code_runs_only_where_the_study_allows_it(file):
    schedule = {
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 0.1,
        "own_optimizer": {"file": file, "name": "Signs"},
    }
    grid = {"architectures": ["cnn"], "objective": "supervised", "seeds": [0], "schedule": schedule}
    training = {"stimulus_set": "x", "portable": False, "grids": [grid]}
    problems = [
        [why for _, why in _forbidden_code({"training": training, "features": features}, ["training"])]
        for features in ({}, {"allow_code": True})
    ]
    assert [len(each) for each in problems] == [1, 0]
    assert "network 'cnn_supervised_s0' would run" in problems[0][0]
    with pytest.raises(ValidationError, match="own code may compute other bytes on other processors"):
        TrainingParams.model_validate({**training, "portable": True})

"""Optimisers, curves and metrics of one's own: used, part of the recipe, inspected, and to be allowed."""

import re

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rep_kedro.checks.study_names import _unfit_code
from rep_kedro.checks.training_code import find_unfit_code
from rep_kedro.errors import UserError
from rep_kedro.training.metrics import measure_metrics, require_metrics
from rep_kedro.training.optimizers import build_optimizer
from rep_kedro.training.own_code import OwnCode
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

def margin(logits, labels, *, scale=1.0):
    highest = logits.topk(2).values
    return scale * (highest[:, 0] - highest[:, 1]).mean()

def shares(logits, labels):
    n = len(labels)
    logits[:] = 0  # its own copy
    return {"of_first": (labels == 0).sum() / n, "undefined": float("nan")}

def broken(logits, labels):
    return logits[len(labels)]

def leaving(logits, labels):
    raise SystemExit(0)

def wordy(logits, labels):
    raise ValueError("one\\ntwo")

def text(logits, labels):
    return "high"

def endless(logits, labels):
    return float("inf")

def broken_name(logits, labels):
    return {"of\\nfirst": 1.0}

def recall(logits, labels):
    return {"of_class_0": 1.0}

number = 3
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


def _training(schedule=None, **grid):
    schedule = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, **(schedule or {})}
    grid = {"architectures": ["cnn"], "objective": "supervised", "seeds": [0], "schedule": schedule, **grid}
    return {"stimulus_set": "x", "portable": False, "grids": [grid]}


LOGITS, LABELS = torch.tensor([[1.0, 3.0, 0.0], [2.0, 2.5, 4.0]]), torch.tensor([0, 2])


def test_own_metrics_give_numbers_by_their_names(file):
    metrics = [
        OwnCode(file=file, name="shares"),
        "top2_accuracy",
        OwnCode(file=file, name="margin", options={"scale": 2.0}),
    ]
    require_metrics(metrics, 3)
    found = measure_metrics(metrics, LOGITS.clone(), LABELS)
    assert found == {"shares_of_first": 0.5, "top2_accuracy": 1.0, "margin": 3.5}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "mine.py: broken fails: IndexError: index 2 is out of bounds"),
        ("leaving", "mine.py: leaving fails: RuntimeError: its code ends the program with SystemExit: 0"),
        ("wordy", "mine.py: wordy fails: ValueError: one two$"),
        ("text", "mine.py: text gives no number: could not convert string"),
        ("endless", "metric 'endless' of .*mine.py is infinite; return NaN where it is undefined"),
        ("halve", "mine.py: halve fails: TypeError"),
        ("broken_name", r"metric 'broken_name_of\\nfirst' of .*mine.py has a name that no column may have"),
    ],
)
def test_a_metric_that_fails_is_named(file, name, message):
    with pytest.raises(UserError, match=message):
        measure_metrics([OwnCode(file=file, name=name)], LOGITS, LABELS)


def test_a_metric_that_gives_the_name_of_another_is_named(file):
    metrics = ["recall_per_class", OwnCode(file=file, name="recall")]
    with pytest.raises(UserError, match=r"mine.py: recall gives 'recall_of_class_0', the name of another"):
        measure_metrics(metrics, LOGITS, LABELS)


@pytest.mark.parametrize("others", [["mcc"], [], ["top3_accuracy"]])
def test_an_own_metric_has_a_name_of_its_own(file, others):
    taken = OwnCode(file=file, name=others[0] if others else "accuracy")
    with pytest.raises(UserError, match=f"metric '{taken.name}' of one's own has the name of another metric"):
        require_metrics([*others, taken])


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            {"metrics": [{"name": "margn"}]},
            "metric .*mine.py has no function or class 'margn'; did you mean 'margin'",
        ),
        ({"metrics": [{"name": "number"}]}, "metric .*mine.py has no function or class 'number'"),
        ({"metrics": [{"name": "Signs", "file": "no.py"}]}, "metric no.py: No such file"),
        (
            {"metrics": [{"name": "margin", "options": {"scal": 1}}]},
            r"margin\(logits, labels, scal=1\) cannot be called: got an unexpected keyword argument 'scal'",
        ),
        (
            {"schedule": {"own_optimizer": {"name": "Signs", "options": {"speed": 1}}}},
            r"optimiser .*Signs\(groups, lr, speed=1\) cannot be called: .* 'speed'",
        ),
        (
            {"schedule": {"own_optimizer": {"name": "Signs", "options": {"lr": 1}}}},
            "option 'lr' is given by the training",
        ),
        ({"schedule": {"own_optimizer": {"name": "halve"}}}, "optimiser .*halve.* cannot be called"),
        (
            {"schedule": {"own_curve": {"name": "halve"}}},
            r"curve .*halve\(progress\) cannot be called: missing a required .*'every'",
        ),
    ],
)
def test_code_is_inspected_before_anything_runs(file, grid, message):
    for code in (*grid.get("metrics", ()), *grid.get("schedule", {}).values()):
        code.setdefault("file", file)
    (why,) = find_unfit_code(TrainingParams.model_validate(_training(**grid)))
    assert re.search(message, why)
    assert why.startswith("network 'cnn_supervised_s0': ")


def test_fit_code_passes_the_inspection(file):
    codes = [{"file": file, "name": name} for name in ("shares", "margin")]
    schedule = {
        "own_optimizer": {"file": file, "name": "Signs", "options": {"momentum": 0.5}},
        "own_curve": {"file": file, "name": "halve", "options": {"every": 0.5}},
    }
    params = TrainingParams.model_validate(_training(schedule, metrics=[*codes, "mcc"]))
    assert list(find_unfit_code(params)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("import sys; sys.exit(0)", "RuntimeError: its code ends the program with SystemExit: 0"),
    ],
)
def test_a_file_that_fails_is_reported_before_anything_runs(tmp_path, content, message):
    (tmp_path / "mine.py").write_text(content)
    code = {"file": str(tmp_path / "mine.py"), "name": "f"}
    (why,) = find_unfit_code(TrainingParams.model_validate(_training(metrics=[code])))
    assert f"mine.py fails: {message}" in why


@pytest.mark.parametrize("place", ["own_optimizer", "metrics"])
def test_code_runs_only_where_the_study_allows_it(file, place):
    code = {"file": file, "name": "Signs" if place == "own_optimizer" else "margin"}
    training = _training({place: code}) if place == "own_optimizer" else _training(metrics=[code])
    problems = [
        [why for _, why in _unfit_code({"training": training, "features": features}, ["training"])]
        for features in ({}, {"allow_code": True})
    ]
    assert [len(each) for each in problems] == [1, 0]
    assert "network 'cnn_supervised_s0' would run" in problems[0][0]
    with pytest.raises(ValidationError, match="own code may compute other bytes on other processors"):
        TrainingParams.model_validate({**training, "portable": True})

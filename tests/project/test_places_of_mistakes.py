"""A mistake in what a grid gives to objectives, schedules and monitors is named by its own place."""

from typing import Any

import pytest
from tests.project.test_bounds_of_counts import Files

from rep_kedro.checks.parameters import require_valid_parameters
from rep_kedro.checks.stale import make_pipeline
from rep_kedro.errors import UserError

GRID = {
    "objective": "vicreg",
    "architectures": ["cnn"],
    "seeds": [0],
    "schedule": {"epochs": 1, "batch_size": 8, "learning_rate": 0.1},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"product": {"options.varianc_weight": [1, 2]}},
            "product.options.varianc_weight: unknown key; did you mean 'variance_weight'",
        ),
        (
            {"paired": {"options.variance_weight": [-1, 1]}},
            "paired.options.variance_weight: should be greater than or equal to 0, got -1",
        ),
        (
            {"product": {"schedule.learning_rate": [-1, 1]}},
            "product.schedule.learning_rate: should be greater than 0, got -1",
        ),
        ({"options": {"variance": 1}}, "options.variance: unknown key; did you mean 'variance_weight'"),
        ({"options": {"views": {"hu": 0.1}}}, "options.views.hu: unknown key; did you mean 'hue'?"),
        ({"options": {"views": {"hue": 3}}}, "options.views.hue: should be less than or equal to 0.5, got 3"),
        (
            {"monitors": {"collapse": {"n_rows": 5000}}},
            "monitors.collapse.n_rows: should be less than or equal to 4096, got 5000",
        ),
    ],
)
def test_a_mistake_in_a_grid_has_its_place(change: dict[str, Any], message: str) -> None:
    training = {"stimulus_set": "digits", "grids": [{**GRID, **change}]}
    with pytest.raises(UserError) as refused:
        require_valid_parameters({"training": training}, {}, make_pipeline("training"), Files())
    assert str(refused.value).startswith(f"parameter training.grids[0].{message}")
    assert "\n" not in str(refused.value)


def test_a_mistake_in_an_override_has_its_place() -> None:
    training: dict[str, Any] = {"stimulus_set": "digits", "grids": [GRID]}
    training["overrides"] = {"cnn_vicreg_s0": {"schedule": {"epochs": -1}}}
    with pytest.raises(
        UserError, match=r"^parameter training.overrides.cnn_vicreg_s0.schedule.epochs: should"
    ):
        require_valid_parameters({"training": training}, {}, make_pipeline("training"), Files())

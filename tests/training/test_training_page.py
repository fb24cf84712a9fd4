"""docs/training.md names every setting."""

from pathlib import Path

import pytest

from rep_kedro.training.grids import NetworkGrid
from rep_kedro.training.metrics import METRICS
from rep_kedro.training.optimizers import _BUILDERS
from rep_kedro.training.params import Checkpoints, TrainingParams
from rep_kedro.training.schedule import PRESETS, Schedule

PAGE = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [NetworkGrid, Schedule, Checkpoints, TrainingParams])
def test_settings_are_on_the_page(model):
    missing = [
        name for name in model.model_fields if f"`{name}`" not in PAGE and f"training.{name}" not in PAGE
    ]
    assert not missing


def test_names_are_on_the_page():
    assert not [name for name in (*METRICS, *_BUILDERS, *PRESETS) if f"`{name}`" not in PAGE]

"""No count of resamples and no seed is so large that a library fails on it."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from rep_kedro.checks.parameters import require_valid_parameters
from rep_kedro.checks.stale import make_pipeline
from rep_kedro.errors import UserError
from rep_kedro.parameter_rules import MAX_COUNT, MAX_SEED
from rep_kedro.pipelines import PIPELINES

ROOT = Path(__file__).parents[2]
COUNTS = (
    "consistency.n_bootstrap",
    "consistency.n_permutations",
    "similarity_inference.n_bootstrap",
    "similarity_inference.n_permutations",
    "sample_sizes.n_orders",
    "probing.performance_gaps.n_bootstrap",
    "probing.performance_gaps.n_permutations",
    "model_selection.n_draws",
)
SEEDS = (
    "consistency.seed",
    "similarity_inference.seed",
    "sample_sizes.seed",
    "model_maps.tsne.seed",
    "model_maps.mds.seed",
    "model_maps.clusters.seed",
    "probing.seed",
    "probing.performance_gaps.seed",
    "model_selection.seed",
    "training.grids.0.seeds.0",
    "ingest.stimulus_sets.digits.seed",
    "ingest.stimulus_subsets.digits.analysis.seed",
)


class Files:
    """A loader that knows no files."""

    conf_source = "nowhere"
    base_env: str | None = None
    default_run_env: str | None = None
    env: str | None = None


@pytest.fixture(scope="module")
def parameters() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "conf/base").glob("parameters*.yml")):
        found |= yaml.safe_load(path.read_text()) or {}
    return found


def check(parameters: dict[str, Any], place: str, value: int) -> None:
    changed = deepcopy(parameters)
    group, *ways, key = (int(part) if part.isdigit() else part for part in place.split("."))
    part = changed[group]
    for way in ways:
        part = part[way] if isinstance(way, int) else part.setdefault(way, {})
    part[key] = value
    pipeline = sum((make_pipeline(name) for name in PIPELINES), make_pipeline("ingest"))
    require_valid_parameters(changed, {}, pipeline, Files())


@pytest.mark.parametrize(
    ("place", "largest"), [(place, MAX_COUNT) for place in COUNTS] + [(place, MAX_SEED) for place in SEEDS]
)
def test_a_value_beyond_its_bound_is_refused(parameters: dict[str, Any], place: str, largest: int) -> None:
    check(parameters, place, largest)
    shown = re.sub(r"\.(\d+)", r"[\1]", place)
    for value in (largest + 1, 9 * 10**18):
        with pytest.raises(UserError) as refused:
            check(parameters, place, value)
        assert str(refused.value) == (
            f"parameter {shown}: should be less than or equal to {largest}, got {value}"
        )

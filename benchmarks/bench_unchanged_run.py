"""A run in which nothing changed, at the size of the similarity-consistency study.

Run ``python benchmarks/bench_unchanged_run.py [--models 64] [--sets 23]``. Makes a project in a temporary
folder (or in ``--folder``, where an earlier one is used again), with generated stimuli and networks as they
were drawn, so that all members, tables, figures and the report are there; then runs it again. Permutations
and resamples are few: they change how long the first run takes, not the second. Prints one line of JSON per
run: wall-clock seconds, seconds of processor time, and what the run reports as computed. The first run takes
minutes; ``--models 16 --sets 6`` takes about one on an idle machine.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENT = "bench"
NOT_USED = ("digits", "photograph_patches", "shapes")  # of conf/base


def main() -> None:
    """Print a line of JSON for the run that makes everything, and for each that follows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--sets", type=int, default=23)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the project is; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        make_project(folder, options.models, options.sets)
        run(folder, "everything")
        for _ in range(options.repeats):
            run(folder, "unchanged")


def make_project(folder: Path, n_models: int, n_sets: int) -> None:
    """Write a project whose configuration has so many networks and stimulus sets."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("conf", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "local")
        shutil.copytree(ROOT / part, folder / part, dirs_exist_ok=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "conf" / "local").mkdir(exist_ok=True)
    own = folder / "conf" / ENVIRONMENT
    own.mkdir(exist_ok=True)
    (own / "globals.yml").write_text("data: data\n", encoding="utf-8")
    (own / "parameters.yml").write_text(yaml.safe_dump(parameters(n_models, n_sets)), encoding="utf-8")


def parameters(n_models: int, n_sets: int) -> dict[str, Any]:
    """Return what differs from conf/base."""
    sets = {
        f"shapes_{index:02d}": {"source": "shapes", "n_train": 48, "n_test": 24, "size_px": 8, "seed": index}
        for index in range(n_sets)
    }
    seeds = list(range((n_models + 1) // 2))
    grids = [
        {"objective": "untrained", "architectures": ["cnn"], "seeds": seeds},
        {"objective": "untrained", "architectures": ["small_resnet"], "seeds": seeds[: n_models // 2]},
    ]
    few = {"n_permutations": 19, "n_bootstrap": 40}
    return {
        "ingest": {"stimulus_sets": {**dict.fromkeys(NOT_USED), **sets}},
        "training": {"stimulus_set": "shapes_00", "grids": grids},
        "probing": {"fit": {"weight_decays": [0.1]}, "performance_gaps": few},
        "similarity_inference": few,
        "consistency": {**few, "anchors": ["cnn_untrained_s0"], "model_sets": {}, "set_pairs": []},
        "sample_sizes": {"n_orders": 1},
        "stitching": {"stimulus_sets": ["shapes_00"], "max_partners_per_network": 2},
    }


def run(folder: Path, what: str) -> None:
    """Run the project and print what it took."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(  # noqa: S603 - this project
        [sys.executable, "-m", "rep_kedro", "run", f"--env={ENVIRONMENT}"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    logged = [line.partition("INFO")[2].strip() for line in ended.stderr.splitlines()]
    computed = [line for line in logged if "to compute" in line or " computed" in line]
    line = {
        "run": what,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(processor, 1),
        "computed": computed[-1] if computed else "",
    }
    print(json.dumps(line), flush=True)  # noqa: T201 - its output


if __name__ == "__main__":
    main()

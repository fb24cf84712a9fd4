"""Kill a training many times at random moments and compare its weights with an undisturbed one.

    python -m tests.training.kill_training [n_kills] [seed]

Each attempt is a process that trains two networks and a snapshot as `kedro run` does, in a process of its own
(`portable`). Every other kill meets that inner process, the rest the outer one. Takes some minutes.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tests.small_collections import ARROW, make_stimuli, run_plan, store

from rep_kedro.pipelines.training.nodes import plan_networks
from rep_kedro.training.params import TrainingParams

GRID = {
    "objective": "simclr",
    "architectures": ["cnn"],
    "seeds": [0, 1],
    "schedule": {"epochs": 40, "batch_size": 16, "learning_rate": 0.01},
    "snapshots": {"steps": [100]},
}


def _train(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 32, 32, 3), dtype=np.uint8)
    sets = store(folder / "sets", {"noise": make_stimuli(pixels, [0, 1] * 32, ["train"] * 64)}, ARROW)
    checkpoints = {"folder": str(folder / "states"), "seconds": 0.2, "steps": 3}
    params = {"stimulus_set": "noise", "grids": [GRID], "checkpoints": checkpoints}
    run_plan(folder / "networks", plan_networks(sets, TrainingParams.model_validate(params)))


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "tests.training.kill_training", "--train", str(folder)])


def _child_of(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def _kill_once(folder: Path, after: float, *, inner: bool) -> None:
    process = _start(folder)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.kill((_child_of(process.pid) if inner else None) or process.pid, signal.SIGKILL)
        process.wait()


def main(n_kills: int, seed: int) -> int:
    draw = random.Random(seed)  # noqa: S311 - moments of kills
    with tempfile.TemporaryDirectory() as parent:
        whole, broken = Path(parent, "whole"), Path(parent, "broken")
        began = time.monotonic()
        if _start(whole).wait():
            return 1
        length = time.monotonic() - began
        _say(f"undisturbed: {length:.1f} s")
        resumed = 0
        for kill in range(n_kills):
            _kill_once(broken, draw.uniform(0.2, 0.7) * length, inner=kill % 2 == 1)
            states = sorted(path.stem for path in broken.glob("states/*.safetensors"))
            stored = sorted(path.stem for path in broken.glob("networks/*.safetensors"))
            resumed += bool(states)
            _say(f"kill {kill + 1}: states {states}, stored {stored}")
            if len(stored) == 2 * len(GRID["seeds"]):  # all done: start over, so that every kill counts
                for path in broken.glob("networks/*"):
                    path.unlink()
        if _start(broken).wait():
            return 1
        files = sorted(path.name for path in whole.glob("networks/*.safetensors"))
        contents = [
            [(folder / "networks" / name).read_bytes() for name in files] for folder in (whole, broken)
        ]
        differ = [name for name, *both in zip(files, *contents, strict=True) if both[0] != both[1]]
        left = sorted(path.name for path in broken.glob("states/*"))
        _say(
            f"{n_kills} kills, {resumed} left a state; {len(files)} members, differing: {differ}, left: {left}"
        )
        return int(bool(differ or left))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        _train(Path(sys.argv[2]))
    else:
        sys.exit(main(*(int(x) for x in (*sys.argv[1:3], *(20, 0)[len(sys.argv) - 1 :]))))

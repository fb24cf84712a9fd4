"""How much memory stitching takes."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_activations_beyond_memory_bytes_take_no_memory(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("memory_child.py")), str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["the activations have no room in memory", "stitched"]

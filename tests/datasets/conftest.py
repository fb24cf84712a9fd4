"""Small collections, and real processes to work on them."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rep_kedro.datasets import CollectionDataset, Planned, Tensors

TENSORS = "rep_kedro.datasets.TensorsDataset"


class Children:
    """Forks processes for tasks of ``child_tasks.py``."""

    def __init__(self):
        script = Path(__file__).with_name("child_tasks.py")
        self._mother = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, task, errors, **arguments):
        """Start a task; returns the process id."""
        order = {"task": task, "errors": str(errors), "arguments": arguments}
        return self._ask(order)

    def wait(self, pid):
        """Wait for a process; returns its exit status, negative for a signal."""
        return self._ask({"wait": pid})

    def run(self, task, errors, **arguments):
        """Run a task to its end; returns the exit status."""
        return self.wait(self.start(task, errors, **arguments))

    def close(self):
        self._mother.stdin.close()
        self._mother.wait(timeout=10)
        self._mother.stdout.close()

    def _ask(self, order):
        self._mother.stdin.write(json.dumps(order) + "\n")
        self._mother.stdin.flush()
        return int(self._mother.stdout.readline())


@pytest.fixture(scope="session")
def children():
    """Processes that start in milliseconds."""
    family = Children()
    yield family
    family.close()


class Counted:
    """A collection of small tensors that counts its calls."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = []

    def collection(self, **options):
        return CollectionDataset(filepath=str(self.folder), member=TENSORS, **options)

    def plan(self, recipes):
        """Plan members whose values depend on their recipes."""
        return {key: Planned(recipe, lambda key=key: self._make(key)) for key, recipe in recipes.items()}

    def save(self, recipes, **options):
        """Save a plan; returns the keys that were computed."""
        self.calls = []
        self.collection(**options).save(self.plan(recipes))
        return self.calls

    def path(self, key):
        return self.folder / f"{key}.safetensors"

    def _make(self, key):
        self.calls.append(key)
        return Tensors({"x": np.full((3, 2), len(key), np.float32)}, {"made_for": key})


@pytest.fixture
def counted(tmp_path):
    """A collection that counts calls, in its own folder."""
    return Counted(tmp_path / "made" / "things")


@pytest.fixture
def quick_folder(tmp_path):
    """A folder in memory where there is one: killing a process needs no disk."""
    memory = Path("/dev/shm")  # noqa: S108
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def bytes_below():
    """Return the content of all files below a folder, by relative path."""

    def read(folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read

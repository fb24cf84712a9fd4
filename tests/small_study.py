"""A copy of the project in an empty folder, in which the small study of conf/test has been run."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.forked_kedro import run_forked

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PARTS = (
    "conf",
    "src",
    "pyproject.toml",
    ".telemetry",
    "dvc.yaml",
    "dvc.lock",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
    ".viz/styles.json",
)
Run = Callable[..., subprocess.CompletedProcess[str]]


def copy_project(folder: Path) -> Path:
    """Copy what a clone has, without results; compiled modules come along, which saves seconds."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("*.egg-info", "local")
            shutil.copytree(source, target, ignore=ignore)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    (folder / "conf" / "local").mkdir(parents=True, exist_ok=True)
    return folder


def run_in(
    folder: Path, *command: str, check: bool = True, has_project: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a tool of the environment in a folder; fail with its output.

    Kedro runs in a fork of a process that has imported its libraries, and with ``has_project`` the project as
    it is in this checkout, unless variables of Python are given.
    """
    variables = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment}
    if command[0] == "kedro" and not any(name.startswith("PYTHON") for name in environment):
        ended = run_forked(folder, command[1:], variables, has_project=has_project)
    else:
        ended = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
    if check and ended.returncode:
        pytest.fail(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended


run_shared: Run = partial(run_in, has_project=True)
"""As ``run_in``, in a folder whose code is that of this checkout: Kedro starts in half the time."""


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study; tests must not change it, as all processes of a test session share it.

    It is made by a process of its own, with hashes of its own.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "small_study"
    with (base / "small_study.made").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if not os.fstat(made.fileno()).st_size:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            copy_project(folder)
            run_in(folder, "kedro", "run", "--env=test", PYTHONHASHSEED="1")
            made.write("made")
    return folder


@pytest.fixture
def own_study(study: Path, tmp_path: Path) -> Path:
    """A copy of the small study that a test may spoil."""
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    return folder

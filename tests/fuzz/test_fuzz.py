"""A short run of the fuzz script, the same every time; and the script itself says what is wrong."""

import random
import subprocess
import sys

import pytest
from tests.fuzz import sources
from tests.fuzz.child import run_case
from tests.fuzz.fuzz import ROOT

from rep_kedro.stimuli.limits import Limits


def test_a_short_run_finds_no_traceback_no_loss_and_no_hunger_for_memory(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz.fuzz", "--cases", "240", "--seconds", "500"]
    command += ["--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-5000:]
    summary = done.stdout.splitlines()[-1]
    assert summary.startswith("seed 0: 240 cases in ")
    assert " 0 failed, at most " in summary


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (None, "refused"),
        (TypeError("'int' object is not iterable"), "failed"),
        (MemoryError(), "failed"),
        (RecursionError("maximum recursion depth exceeded"), "failed"),
        (AssertionError("5 of 6 stimuli came out"), "failed"),
    ],
)
def test_what_a_user_would_see_as_a_traceback_is_a_failure(problem, outcome, tmp_path):
    def run(folder):
        if problem is None:
            Limits().require_bytes(1 << 40, "a.png")
        raise problem

    kinds = {"any": (lambda rng, folder: None, run)}
    assert run_case(kinds, "any", 0, 0, tmp_path)[0] == outcome


def test_a_set_that_lacks_stimuli_is_a_wrong_result(tmp_path):
    sources.make_idx(random.Random(3), tmp_path)  # noqa: S311
    content = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (5, 9, 7)) + bytes(5 * 9 * 7)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\5" + bytes(5))
    with pytest.raises(sources.WrongResultError, match="5 of 6 stimuli came out, 5 counted"):
        sources.run_idx(tmp_path)


@pytest.mark.parametrize("kind", list(sources.KINDS))
def test_a_case_depends_on_its_seed_and_number_alone(kind, tmp_path):
    make, _ = sources.KINDS[kind]
    found = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        make(random.Random(f"0/{kind}/4"), folder)  # noqa: S311
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found.append([(path.relative_to(folder), path.read_bytes()) for path in files])
    assert found[0] == found[1]

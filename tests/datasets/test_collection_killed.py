"""A killed run goes on where it stopped and leaves nothing half-written."""

import os
import random
import signal
import time
from contextlib import suppress

import pytest

N_FOLDERS, N_KILLS_EACH = 13, 2
N_MEMBERS = 40


def wait_for(condition, deadline_s=60.0):
    """Wait until a condition holds, or the time is over."""
    until = time.monotonic() + deadline_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.0002)


def is_writing(folder):
    """Tell whether a file is being written."""
    for place in (folder / "features", folder / "tables", folder / "features" / "a"):
        with suppress(FileNotFoundError), os.scandir(place) as entries:
            if any(entry.name.endswith(".partial") for entry in entries):
                return True
    return False


def files_of(below, folder):
    """Return members and plans by path, without the journals and what is being written."""
    return {
        name: b
        for name, b in below(folder).items()
        if not name.endswith((".jsonl", ".partial", "log", "errors"))
    }


@pytest.fixture(scope="module")
def undisturbed(children, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert children.run("save_both", folder / "errors", folder=str(folder), log=str(folder / "log")) == 0
    return folder


def test_a_run_killed_at_any_moment_is_completed_to_the_same_bytes(
    children, quick_folder, undisturbed, bytes_below
):
    reference = files_of(bytes_below, undisturbed)
    assert len(reference) == 42
    rng = random.Random(0)  # noqa: S311
    n_killed = 0
    for number in range(N_FOLDERS):
        folder = quick_folder / str(number)
        folder.mkdir()
        log = folder / "log"
        for kill in range(N_KILLS_EACH):
            finished = set(files_of(bytes_below, folder))
            log.write_text("")
            n_before = rng.randrange(max(1, N_MEMBERS - 2 - len(finished)))
            pid = children.start("save_both", folder / "errors", folder=str(folder), log=str(log))
            wait_for(lambda: len(computed(log)) >= n_before)  # noqa: B023
            time.sleep(rng.uniform(0, 0.005))
            if (number + kill) % 2:
                wait_for(lambda: is_writing(folder), deadline_s=5.0)  # noqa: B023
            os.kill(pid, signal.SIGKILL)
            n_killed += children.wait(pid) == -signal.SIGKILL
            found = files_of(bytes_below, folder)
            assert {name: reference[name] for name in found} == found
            assert not finished & set(computed(log))
        finished = set(found)
        log.write_text("")
        assert children.run("save_both", folder / "errors", folder=str(folder), log=str(log)) == 0
        assert files_of(bytes_below, folder) == reference
        assert sorted(computed(log)) == sorted(
            set(reference) - finished - {"features/plan.json", "tables/plan.json"}
        )
        assert list(folder.rglob("*.partial")) == []
    assert n_killed >= 1  # how many end by themselves before the signal comes depends on the machine


def computed(log):
    """Return the files whose members were computed."""
    suffix = {"features": ".safetensors", "tables": ".parquet"}
    return [line + suffix[line.split("/")[0]] for line in log.read_text().splitlines()]


def test_an_interrupt_keeps_what_is_done_and_sweeps_at_once(children, tmp_path, bytes_below):
    log = tmp_path / "log"
    log.write_text("")
    pid = children.start("save_both", tmp_path / "errors", folder=str(tmp_path), log=str(log), hold=10)
    wait_for(lambda: len(computed(log)) > 10)
    os.kill(pid, signal.SIGINT)
    assert children.wait(pid) == 130
    assert list(tmp_path.rglob("*.partial")) == []
    finished = set(files_of(bytes_below, tmp_path))
    assert finished
    log.write_text("")
    assert children.run("save_both", tmp_path / "errors", folder=str(tmp_path), log=str(log)) == 0
    assert not finished & set(computed(log))

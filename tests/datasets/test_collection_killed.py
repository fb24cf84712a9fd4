"""A killed run goes on where it stopped and leaves nothing half-written."""

import os
import random
import signal
import time

import pytest

POINTS = ("compute", "write", "move", "journal")  # as `child_tasks.Hold` has them
N_FOLDERS_EACH, N_KILLS_EACH = 3, 2
N_MEMBERS = 40


def start_held(children, folder, point, after):
    """Start a run and return its process id when it waits at a point."""
    sign = folder / "waits"
    sign.unlink(missing_ok=True)
    hold_at = (point, after, str(sign))
    arguments = {"folder": str(folder), "log": str(folder / "log"), "hold_at": hold_at}
    pid = children.start("save_both", folder / "errors", **arguments)
    until = time.monotonic() + 300
    while not sign.exists():
        assert time.monotonic() < until, f"the run never reached {hold_at}"
        time.sleep(0.001)
    return pid


def files_of(below, folder):
    """Return members and plans by path, without the journals and what is being written."""
    return {
        name: b
        for name, b in below(folder).items()
        if not name.endswith((".jsonl", ".partial", "log", "errors", "waits"))
    }


@pytest.fixture(scope="module")
def undisturbed(children, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert children.run("save_both", folder / "errors", folder=str(folder), log=str(folder / "log")) == 0
    return folder


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_any_point_is_completed_to_the_same_bytes(
    children, quick_folder, undisturbed, bytes_below, point
):
    reference = files_of(bytes_below, undisturbed)
    plans = {"features/plan.json", "tables/plan.json"}
    assert len(reference) == N_MEMBERS + len(plans)
    rng = random.Random(POINTS.index(point))  # noqa: S311
    for number in range(N_FOLDERS_EACH):
        folder = quick_folder / str(number)
        folder.mkdir()
        log = folder / "log"
        for _ in range(N_KILLS_EACH):
            finished = set(files_of(bytes_below, folder))
            log.write_text("")
            n_to_do = N_MEMBERS - len(finished - plans)
            after = rng.randrange(n_to_do)
            pid = start_held(children, folder, point, after)
            n_partial = len(list(folder.rglob("*.partial")))
            os.kill(pid, signal.SIGKILL)
            assert children.wait(pid) == -signal.SIGKILL
            found = files_of(bytes_below, folder)
            assert {name: reference[name] for name in found} == found
            assert len(found.keys() - finished - plans) == after + (point == "journal")
            assert n_partial == (point in ("write", "move"))
            assert not finished & set(computed(log))
        finished = set(found)
        log.write_text("")
        assert children.run("save_both", folder / "errors", folder=str(folder), log=str(log)) == 0
        assert files_of(bytes_below, folder) == reference
        assert sorted(computed(log)) == sorted(set(reference) - finished - plans)
        assert list(folder.rglob("*.partial")) == []


def computed(log):
    """Return the files whose members were computed."""
    suffix = {"features": ".safetensors", "tables": ".parquet"}
    return [line + suffix[line.split("/")[0]] for line in log.read_text().splitlines()]


def test_an_interrupt_keeps_what_is_done_and_sweeps_at_once(children, tmp_path, bytes_below):
    log = tmp_path / "log"
    log.write_text("")
    pid = start_held(children, tmp_path, "write", 10)
    os.kill(pid, signal.SIGINT)
    assert children.wait(pid) == 130
    assert list(tmp_path.rglob("*.partial")) == []
    finished = set(files_of(bytes_below, tmp_path))
    assert len([name for name in finished if not name.endswith("plan.json")]) == 10
    log.write_text("")
    assert children.run("save_both", tmp_path / "errors", folder=str(tmp_path), log=str(log)) == 0
    assert not finished & set(computed(log))

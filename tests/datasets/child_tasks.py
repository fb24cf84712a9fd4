"""What the tests run in real processes: a mother process forks one child for each task it reads.

Forking saves each child the seconds of importing. Run as a script; tasks come as JSON lines on standard
input, process ids and exit statuses go out the same way.
"""

import json
import logging
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import tqdm.contrib.logging  # noqa: F401

from rep_kedro.datasets import Batch, CollectionDataset, Planned, Tensors, atomic, seal, work
from rep_kedro.datasets.journal import append_to_journal, journal_path, package_versions

N_LARGE = 600_000
WARM = ("numpy.random", "pandas", "pyarrow.compute", "pyarrow.pandas_compat", "rep_kedro.datasets.arrow")
WORK_S = 0.002
HELD_S = 600  # until a signal ends the process


class Hold:
    """Where a task waits for a signal: at the nth time that it reaches a point of making a member.

    Args:
        point: ``compute`` (before the value is there), ``write`` (half of the file is written), ``move`` (the
            file is whole but not in its place), ``journal`` (it is in its place but not in the journal).
        after: How many times the point is passed before.
        sign: The file that is made when the task waits.
    """

    def __init__(self, point, after, sign):
        self._point, self._left, self._sign = point, after, sign

    def reach(self, point, before_waiting=lambda: None):
        """Pass a point, or wait there."""
        if point != self._point:
            return
        self._left -= 1
        if self._left < 0:
            before_waiting()
            Path(self._sign).touch()
            time.sleep(HELD_S)

    def install(self):
        """Let the collection reach the points that are within its own code."""
        append = work.append_to_journal

        def write_and_hold(path, write):
            def write_half(partial):
                write(partial)
                self.reach("move")
                self.reach("write", lambda: os.truncate(partial, partial.stat().st_size // 2))

            return atomic.write_atomically(path, write_half)

        def hold_and_append(*arguments, **line):
            self.reach("journal")
            append(*arguments, **line)

        seal.write_atomically, work.append_to_journal = write_and_hold, hold_and_append


hold = None  # of this child, which runs one task


def note(log, line):
    """Append a line in one write; wait for a signal where the task is to be held there."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)
    if hold is not None:
        hold.reach("compute")


def numbers(seed, n):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def tensors_plan(log):
    """Plan 24 members: 15 alone, one of them 2.4 MB, and 9 in a batch."""

    def make(key, seed):
        note(log, f"features/{key}")
        time.sleep(WORK_S)
        n = N_LARGE if key == "a/large" else 500
        return Tensors({"x": numbers(seed, n).reshape(-1, 4), "y": np.arange(seed)}, {"seed": seed})

    def make_all(keys):
        for key in keys:
            yield key, make(key, int(key.rsplit("_", 1)[1]))

    batch = Batch(make_all)
    keys = ["a/large", *(f"a/m_{i}" for i in range(14))]
    plan = {key: Planned({"seed": i}, lambda key=key, i=i: make(key, i)) for i, key in enumerate(keys)}
    return plan | {f"b/batched_{i}": Planned({"batched": i}, batch) for i in range(9)}


def tables_plan(log):
    """Plan 16 members: 11 alone, one of them some MB, and 5 in a batch."""

    def make(key, seed):
        note(log, f"tables/{key}")
        time.sleep(WORK_S)
        x = numbers(seed, N_LARGE if key == "large" else 300)
        return pa.table({"x": x}, metadata={b"meta": json.dumps({"seed": seed}).encode()})

    def make_all(keys):
        for key in keys:
            yield key, make(key, int(key.rsplit("_", 1)[1]))

    batch = Batch(make_all)
    keys = ["large", *(f"t_{i}" for i in range(10))]
    plan = {key: Planned({"seed": i}, lambda key=key, i=i: make(key, i)) for i, key in enumerate(keys)}
    return plan | {f"batched_{i}": Planned({"batched": i}, batch) for i in range(5)}


def save_both(folder, log, shard=None, hold_at=None):
    """Fill a collection of tensors and one of tables; wait where arguments of :class:`Hold` say, if given."""
    global hold  # noqa: PLW0603 - of this child
    if hold_at is not None:
        hold = Hold(*hold_at)
        hold.install()
    for name, member, plan in (
        ("features", "rep_kedro.datasets.TensorsDataset", tensors_plan(log)),
        ("tables", "rep_kedro.datasets.ArrowDataset", tables_plan(log)),
    ):
        CollectionDataset(filepath=f"{folder}/{name}", member=member, shard=shard).save(plan)


def save_simple(folder, n_members=4, n_floats=1000, uid=None, limit_bytes=None):
    """Fill a small collection, if wanted as another user or with a limit on the size of files."""
    import resource

    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

    def make(i):
        return Tensors({"x": numbers(i, n_floats)})

    plan = {f"m{i}": Planned({"i": i, "n": n_floats}, lambda i=i: make(i)) for i in range(n_members)}
    CollectionDataset(filepath=folder, member="rep_kedro.datasets.TensorsDataset").save(plan)


def load_one_row(path, log):
    """Note by how many bytes the process grows by loading one row, and by reading everything."""
    from rep_kedro.datasets import TensorsDataset

    def grown():
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = grown()
    handle = TensorsDataset(filepath=path).load()
    row = handle.rows("x", slice(70_000, 70_001))
    first = float(row[0, 0])
    after_row = grown()
    everything = handle.tensor("x")
    total = float(everything.sum())
    after_all = grown()
    note(
        log,
        json.dumps({"row": after_row - before, "all": after_all - before, "first": first, "sum": total}),
    )


def append_lines(folder, name, n):
    """Append many journal lines."""
    package_versions()
    for i in range(n):
        append_to_journal(journal_path(folder), key=f"{name}-{i}", digest="d", seconds=1.0, n_bytes=i)


TASKS = {task.__name__: task for task in (save_both, save_simple, load_one_row, append_lines)}


def run_child(order):
    """Run one task; the error's text goes to the named file; the exit status is 0, 1 or 130."""
    code = 0
    try:
        logging.disable(logging.CRITICAL)
        arguments = {
            k: Path(v) if k in ("folder", "path") and order["task"] == "append_lines" else v
            for k, v in order["arguments"].items()
        }
        TASKS[order["task"]](**arguments)
    except KeyboardInterrupt:
        code = 130
    except BaseException as problem:
        code = 1
        with open(order["errors"], "a", encoding="utf-8") as stream:
            stream.write(str(problem) + "\n")
        if not isinstance(problem, Exception):
            traceback.print_exc()
    os._exit(code)


def main():
    """Serve until standard input ends."""
    for module in WARM:
        import_module(module)
    package_versions()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                run_child(order)
        print(answer, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

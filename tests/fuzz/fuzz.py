"""Feeds spoiled files to the readers: no traceback, no silent loss, no memory above 2 GiB, no hang.

Usage: python -m tests.fuzz.fuzz [--seconds 120] [--seed 0] [--kind image ...] [--cases N] [--keep FOLDER]

Case n of a kind depends on the seed and on n alone, however long the run. Failing cases are kept. Exits with
1 if any case failed.
"""

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

KINDS = (
    "image",
    "labels",
    "tar",
    "npz",
    "idx",
    "parquet",
    "arrow",
    "description",
    "member",
    "parameters",
    "architecture",
)
SECONDS_PER_CASE = 10
START_SECONDS = 120
MAX_MB = 2048
ROOT = Path(__file__).parents[2]


class Child:
    """A process that runs cases; it is replaced when it ends or hangs."""

    def __init__(self):
        self._process = None
        self._n_served = 0

    def run(self, kind, seed, number, folder):
        """Return the outcome of one case."""
        if self._process is None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            command = [sys.executable, "-m", "tests.fuzz.child"]
            self._process = subprocess.Popen(command, **pipes, text=True, env=environment, cwd=ROOT)
            self._n_served = 0
        self._process.stdin.write(f"{kind} {seed} {number} {folder}\n")
        self._process.stdin.flush()
        limit = SECONDS_PER_CASE if self._n_served else START_SECONDS
        is_ready, _, _ = select.select([self._process.stdout], [], [], limit)
        line = self._process.stdout.readline() if is_ready else ""
        self._n_served += 1
        if line:
            found = json.loads(line)
            if found["peak_mb"] > MAX_MB:
                found |= {"outcome": "failed", "why": f"took {found['peak_mb']} MB"}
            return found
        why = self._end() if is_ready else f"no answer after {limit} s\n{self._end()}"
        return {"outcome": "failed", "why": why, "peak_mb": 0}

    def close(self):
        """End the process."""
        if self._process is not None:
            self._end()

    def _end(self):
        self._process.kill()
        _, errors = self._process.communicate()
        code, self._process = self._process.returncode, None
        return f"the process ended with {code}\n{errors[-2000:]}"


def fuzz(options):
    """Run cases of all kinds in turn and return (outcomes by kind, failures, largest peak in MB)."""
    outcomes, failures, peak_mb = Counter(), [], 0
    child, n_done, start = Child(), 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rep_kedro-fuzz-") as scratch:
        while (
            options.cases is None or n_done < options.cases
        ) and time.monotonic() - start < options.seconds:
            kind = options.kind[n_done % len(options.kind)]
            number = options.first + n_done // len(options.kind)
            folder = Path(scratch) / f"{kind}-{options.seed}-{number}"
            folder.mkdir()
            found = child.run(kind, options.seed, number, folder)
            outcomes[kind, found["outcome"]] += 1
            peak_mb = max(peak_mb, found["peak_mb"])
            if found["outcome"] == "failed":
                kept = Path(options.keep) / folder.name
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                failures.append((kind, number, kept, found["why"]))
                print(f"FAILED {kind}, case {number}, kept in {kept}\n{found['why']}", flush=True)  # noqa: T201
            shutil.rmtree(folder)
            n_done += 1
        child.close()
    return outcomes, failures, peak_mb


def main():
    """Parse the command line, run, and summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--cases", type=int, default=None, help="stop after so many cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to run one again")
    parser.add_argument("--keep", default=Path(tempfile.gettempdir()) / "rep_kedro-fuzz-failures")
    options = parser.parse_args()
    start = time.monotonic()
    outcomes, failures, peak_mb = fuzz(options)
    counts = "; ".join(
        f"{kind} {outcomes[kind, 'accepted']}+{outcomes[kind, 'refused']}+{outcomes[kind, 'failed']}"
        for kind in options.kind
    )
    print(  # noqa: T201
        f"seed {options.seed}: {outcomes.total()} cases in {time.monotonic() - start:.0f} s, {len(failures)}"
        f" failed, at most {peak_mb} MB (accepted+refused+failed: {counts})"
    )
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

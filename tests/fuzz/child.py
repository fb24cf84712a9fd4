"""Makes and runs fuzzed cases that its parent names, in a process whose memory is capped.

Each line of the input is ``<kind> <seed> <number> <folder>``; each line of the output is JSON with
``outcome`` (accepted, refused or failed), ``why`` and ``peak_mb``.
"""

import json
import random
import resource
import sys
import threading
import traceback
import warnings
from pathlib import Path

CAP_BYTES = 2 << 30


def run_case(kinds, kind, seed, number, folder):
    """Return what came of a case; an error that a user would see as a traceback is a failure."""
    from rep_kedro.commands.explain import explain

    make, run = kinds[kind]
    make(random.Random(f"{seed}/{kind}/{number}"), folder)  # noqa: S311  cases, no secrets
    try:
        return run(folder), ""
    except BaseException as problem:
        if isinstance(problem, AssertionError | MemoryError) or not (line := explain(problem)):
            return "failed", "".join(traceback.format_exception(problem, limit=-6))[-2000:]
        return "refused", line


def peak_mb():
    """Return the largest memory of this process since the last call, in megabytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # starts the next measurement
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main():
    """Serve cases until the input ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (CAP_BYTES, CAP_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(16 << 20)
    warnings.simplefilter("ignore")
    from tests.fuzz import project_files, sources

    kinds = {**sources.KINDS, **project_files.KINDS}
    for line in sys.stdin:
        kind, seed, number, folder = line.rstrip("\n").split(" ", 3)
        outcome, why = run_case(kinds, kind, seed, int(number), Path(folder))
        sys.stdout.write(json.dumps({"outcome": outcome, "why": why, "peak_mb": peak_mb()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

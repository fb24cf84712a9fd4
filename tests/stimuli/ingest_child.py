"""Ingests one source in a process of its own and tells, as JSON, what came of it and how much memory it took.

Usage: ingest_child.py <parameters as JSON> [<folder for the stored set>]
"""

import json
import sys
import threading
import time
from pathlib import Path

from rep_kedro.datasets import ArrowDataset
from rep_kedro.pipelines.ingest.nodes import plan_stimulus_sets
from rep_kedro.stimuli import spool
from rep_kedro.stimuli.params import IngestParams


def anonymous_bytes():
    """Return the memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def watch(peak, stop):
    while not stop.is_set():
        peak[0] = max(peak[0], anonymous_bytes())
        time.sleep(0.002)


def ingest(entry, folder):
    """Return recipe and meta of the set that an entry of the parameters makes."""
    plan = plan_stimulus_sets(IngestParams(stimulus_sets={"mine": entry}))
    if "mine" not in plan:
        return {"error": plan.left_out["mine"]}
    table = plan["mine"].compute()
    if folder:
        ArrowDataset(filepath=f"{folder}/mine.parquet", key="mine", recipe=plan["mine"].recipe).save(table)
    return {"recipe": dict(plan["mine"].recipe), "meta": json.loads(table.schema.metadata[b"meta"])}


def main(entry, folder=None):
    spool.BatchSpool.__init__.__kwdefaults__["memory_limit_bytes"] = 8 << 20
    if folder:
        ingest({"source": "shapes", "n_train": 6, "n_test": 0}, folder)  # imports what is needed
    peak, stop = [before := anonymous_bytes()], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, stop))
    watcher.start()
    try:
        shown = ingest(json.loads(entry), folder)
    except ValueError as problem:
        shown = {"error": str(problem)}
    finally:
        stop.set()
        watcher.join()
    sys.stdout.write(json.dumps(shown | {"peak_bytes": peak[0] - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])

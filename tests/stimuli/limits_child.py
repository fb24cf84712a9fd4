"""Ingests sources one after another in a process whose memory is capped, and reports as JSON.

Usage: python -m tests.stimuli.limits_child <list of parameters as JSON>

Of each source: the error, or what the set's meta holds; and the memory it took at its peak.
"""

import json
import resource
import sys
import threading

from tests.stimuli.ingest_child import anonymous_bytes, watch

from rep_kedro.stimuli.assembly import assemble_stimulus_set, meta_of
from rep_kedro.stimuli.opening import open_source
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.sources import parse_source

CAP_BYTES = 2 << 30


def run(entry):
    """Return what came of one source."""
    peak, stop = [before := anonymous_bytes()], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, stop))
    watcher.start()
    try:
        spec, log = parse_source(entry), DamageLog()
        found = {"meta": meta_of(assemble_stimulus_set(open_source(spec, log), spec, log))}
    except ValueError as problem:
        found = {"error": str(problem)}
    finally:
        stop.set()
        watcher.join()
    return found | {"peak_bytes": peak[0] - before}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (CAP_BYTES, CAP_BYTES))
    run({"source": "shapes", "n_train": 6, "n_test": 0})  # imports what is needed
    sys.stdout.write(json.dumps([run(entry) for entry in json.loads(sys.argv[1])]))

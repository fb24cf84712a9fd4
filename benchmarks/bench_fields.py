"""Receptive fields of every classifier of torchvision: processor time of each, and what cannot be followed.

Networks have no weights. The bound is 10 s for any one of them; the run ends with an error above it.

Run: python benchmarks/bench_fields.py [--side 224] [names ...]
"""

import argparse
import sys
import time

from rep_kedro.models.fields import find_layer_fields
from rep_kedro.models.outline import build_on_meta
from rep_kedro.models.sources.specs import TorchvisionModel

BOUND_S = 10.0


def main() -> int:
    """Print one line per network that takes more than a second, and the slowest."""
    from torchvision import models

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=models.list_models(module=models))
    parser.add_argument("--side", type=int, default=224)
    options = parser.parse_args()
    seconds: dict[str, float] = {}
    for name in options.names:
        entry = TorchvisionModel(source="torchvision", name=name, weights=None, layers=("*",))
        module = build_on_meta(entry)
        start = time.process_time()
        found = find_layer_fields(module, None, options.side)
        seconds[name] = time.process_time() - start
        lost = {why for why in found.unknown.values() if "calls" in why}
        if lost or seconds[name] > 1:
            _show(f"{name:24}{seconds[name]:6.2f} s  {len(found.known):5} layers  {'; '.join(lost)}")
    slowest = max(seconds, key=lambda name: seconds[name])
    _show(f"{len(seconds)} networks; slowest {slowest}: {seconds[slowest]:.2f} s, bound {BOUND_S:g} s")
    return int(seconds[slowest] > BOUND_S)


def _show(line: str) -> None:
    print(line)  # noqa: T201 - the benchmark's output


if __name__ == "__main__":
    sys.exit(main())

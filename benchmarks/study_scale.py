"""Time similarity at the scale of the consistency study: 64 networks, 10,000 stimuli, widths 384 to 2,048.

Run ``python benchmarks/study_scale.py`` on a machine that does nothing else and has 20 GiB; it takes some ten
minutes on two cores. Each measure runs in a process of its own, which gives its peak memory; the last line
extrapolates to the 23 stimulus sets of the study. ``make bench`` leaves this out.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from rep_kedro.measures import compare_models

MEASURES = ("cka_linear_debiased", "cka_rbf_median_0.4_debiased", "rsa_correlation_spearman")
WIDTHS = (384, 512, 768, 1024, 2048)
N_SETS = 23


def draw_study(n_models: int, n_stimuli: int) -> list[Tensor]:
    """Return unrelated representations of the study's widths, float32."""
    generator = torch.Generator().manual_seed(0)
    widths = (WIDTHS[index % len(WIDTHS)] for index in range(n_models))
    return [torch.randn(n_stimuli, width, generator=generator) for width in widths]


def time_measure(measure: str, options: argparse.Namespace) -> None:
    """Print seconds and peak memory of one measure for all pairs as JSON."""
    torch.set_num_threads(options.threads)
    models = draw_study(options.models, options.stimuli)
    wall, processor = time.perf_counter(), time.process_time()
    dict(compare_models(models, [measure], memory_bytes=options.memory_mib * 2**20))
    figures = {
        "measure": measure,
        "wall_s": round(time.perf_counter() - wall, 1),
        "processor_s": round(time.process_time() - processor, 1),
        "features_mib": sum(x.numel() * 4 for x in models) // 2**20,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10,
    }
    print(json.dumps(figures))  # noqa: T201


def main() -> None:
    """Time each measure in a process of its own, then print the estimate for all stimulus sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--stimuli", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--memory-mib", type=int, default=8192)
    parser.add_argument("--measure", choices=MEASURES, help="time this one in this process")
    options = parser.parse_args()
    if options.measure:
        return time_measure(options.measure, options)
    seconds = 0.0
    for measure in MEASURES:
        command = [sys.executable, __file__, *sys.argv[1:], "--measure", measure]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        answer = done.stdout.splitlines()[-1]
        print(answer, flush=True)  # noqa: T201
        seconds += json.loads(answer)["wall_s"]
    print(f"all measures, {N_SETS} sets of this size: {N_SETS * seconds / 3600:.1f} hours (extrapolated)")  # noqa: T201
    return None


if __name__ == "__main__":
    main()

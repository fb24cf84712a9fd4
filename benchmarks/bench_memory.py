"""Time and peak memory of all pairs of models at many stimuli, where no matrix over stimuli fits into memory.

Each measure runs in a process of its own, so that its peak is its own. The peak is what the process takes
beyond the features and what it took to compare a few stimuli; next to it is the working memory that was
allowed, on top of which come a copy of the features (float64 for some measures) and some tens of MiB.

Run: python benchmarks/bench_memory.py [--stimuli 20000] [--models 3] [--features 128] [--memory-mib 256]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

MEASURES = (
    "cka_linear_debiased",
    "cka_rbf_median_0.4_debiased",
    "rsa_correlation_pearson",
    "mutual_knn_10",
    "procrustes",
    "rsa_correlation_spearman",
)
BYTES_PER_ENTRY = 16  # the least that rank correlation takes for each pair of stimuli


def peak_bytes() -> int:
    """Return the most memory that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_one(options: argparse.Namespace) -> dict[str, float]:
    """Compare models under one measure in this process."""
    import torch

    from rep_kedro.measures import compare_models

    torch.set_num_threads(options.threads)
    memory_bytes = options.memory_mib * 2**20
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(options.stimuli, 8, generator=generator)
    models = []
    for _ in range(options.models):
        x = torch.randn(options.stimuli, options.features, generator=generator)
        models.append(x.addmm_(shared, torch.randn(8, options.features, generator=generator)))
    dict(compare_models([x[:600] for x in models], [options.measure], memory_bytes=memory_bytes))
    before, wall, processor = peak_bytes(), time.perf_counter(), time.process_time()
    dict(compare_models(models, [options.measure], memory_bytes=memory_bytes))
    return {
        "peak_mib": (peak_bytes() - before) / 2**20,
        "allowed_mib": options.memory_mib,
        "features_mib": sum(x.numel() * x.element_size() for x in models) / 2**20,
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
    }


def main() -> None:
    """Run a process for each measure and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("stimuli", 20_000), ("models", 3), ("features", 128), ("memory-mib", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--measure", help="compare under this one in this process and print JSON")
    options = parser.parse_args()
    write = sys.stdout.write
    if options.measure:
        write(json.dumps(measure_one(options)) + "\n")
        return
    write(
        f"{options.models} models x {options.stimuli} stimuli x {options.features} features,"
        f" {options.threads} threads\n"
    )
    for name in MEASURES:
        least = BYTES_PER_ENTRY * options.stimuli * (options.stimuli - 1) // 2 // 2**20 + 1
        allowed = max(options.memory_mib, least) if name.endswith("spearman") else options.memory_mib
        shape = [f"--{key}={getattr(options, key)}" for key in ("stimuli", "models", "features", "threads")]
        command = [sys.executable, __file__, *shape, f"--memory-mib={allowed}", f"--measure={name}"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
        figures = json.loads(answer.splitlines()[-1])
        write(
            f"{name:28s} {figures['wall_s']:7.1f} s (processor time {figures['processor_s']:.1f} s)   peak"
            f" {figures['peak_mib']:6.0f} MiB, allowed {allowed}, features {figures['features_mib']:.0f}\n"
        )


if __name__ == "__main__":
    main()

"""Check and time a GPU: its values against the processor's, repeats, then similarity at the study's scale.

Run ``make gpu``; the aim is less than six minutes. It needs torch, numpy, scipy and a CUDA device, nothing
else; with the whole project installed it runs the GPU tests as well. It exits with 1 if a value differs by
more than 1e-5.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time

import torch
from study_scale import MEASURES as STUDY_MEASURES
from study_scale import draw_study
from torch import Tensor

from rep_kedro.measures import compare_models
from rep_kedro.measures.registry import MEASURES

TOLERANCE = 1e-5
MEMORY_BYTES = 2**30


def draw_cases() -> dict[str, list[Tensor]]:
    """Return representations that share something, plain and badly scaled."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(300, 20, generator=generator)
    plain = [
        shared @ torch.randn(20, width, generator=generator)
        + 2 * torch.randn(300, width, generator=generator)
        for width in (40, 80, 400)
    ]
    row, offset = [x.clone() for x in plain], [x + 1e4 for x in plain]
    row[0][7] *= 1e4
    return {"plain": plain, "one row times 1e4": row, "all plus 1e4": offset}


def largest_differences(device: str) -> dict[str, dict[str, float]]:
    """Return, for each case, the measures whose values differ by more than the tolerance, and by how much."""
    names = [name for name, measure in MEASURES.items() if measure.compares == "features"]
    found: dict[str, dict[str, float]] = {}
    for case, representations in draw_cases().items():
        on_cpu, first, again = (
            dict(compare_models(representations, names, memory_bytes=MEMORY_BYTES, device=where))
            for where in ("cpu", device, device)
        )
        differences = {}
        for name in names:
            values, other = (torch.as_tensor(found[name].values) for found in (first, on_cpu))
            if not torch.equal(values.nan_to_num(9), torch.as_tensor(again[name].values).nan_to_num(9)):
                differences[f"{name} (second run)"] = float("inf")
            if not torch.equal(values.isnan(), other.isnan()):
                differences[f"{name} (undefined on one)"] = float("inf")
            differences[name] = float((values - other).nan_to_num(0).abs().max())
        found[case] = {name: size for name, size in differences.items() if size > TOLERANCE}
        largest = max(differences, key=differences.__getitem__)
        print(f"{case}: {len(names)} measures, largest difference {differences[largest]:.1e} ({largest})")  # noqa: T201
    return found


def time_study(device: str, n_models: int, n_stimuli: int) -> None:
    """Print seconds and peak memory of each measure at the study's scale, the second of two calls."""
    models = [x.to(device) for x in draw_study(n_models, n_stimuli)]
    for measure in STUDY_MEASURES:
        for _ in range(2):
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
            start = time.perf_counter()
            dict(compare_models(models, [measure], memory_bytes=32 * 2**30))
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() // 2**20
        print(json.dumps({"measure": measure, "wall_s": round(seconds, 2), "peak_mib": peak}), flush=True)  # noqa: T201


def main() -> int:
    """Run all parts; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--stimuli", type=int, default=10_000)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: torch sees no CUDA device; a machine with one is needed", file=sys.stderr)  # noqa: T201
        return 1
    if options.device == "cuda":
        print(torch.cuda.get_device_name(), "torch", torch.__version__)  # noqa: T201
    wrong = {case: names for case, names in largest_differences(options.device).items() if names}
    if options.device == "cuda":
        time_study(options.device, options.models, options.stimuli)
        if all(importlib.util.find_spec(name) for name in ("pytest", "kedro", "pandas")):
            command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/measures", "tests/training"]
            if subprocess.run(command, check=False).returncode:  # noqa: S603
                return 1
        else:
            print("the GPU tests were left out: pytest, kedro and pandas are not installed here")  # noqa: T201
    if wrong:
        print(f"error: values differ from those of the processor: {json.dumps(wrong)}", file=sys.stderr)  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

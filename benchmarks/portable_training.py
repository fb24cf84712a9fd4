"""Portable training: its digests on this processor and on emulated ones, and what it costs.

    python benchmarks/portable_training.py                                    # this processor
    python benchmarks/portable_training.py --cpu Haswell EPYC Skylake-Client  # and others, under qemu-user
    python benchmarks/portable_training.py --cost 3                           # default study, in turns

Weights are compared after a few steps of every default architecture under every objective. Views that move
images are left out: qemu 7.2 gets AVX2's gather instruction wrong, which only loads numbers.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import yaml
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from rep_kedro.datasets import ArrowDataset, CollectionDataset  # noqa: E402
from rep_kedro.models.architecture_files import load_architecture  # noqa: E402
from rep_kedro.pipelines.training.nodes import plan_networks  # noqa: E402
from rep_kedro.stimuli.png import encode_png  # noqa: E402
from rep_kedro.training.params import TrainingParams  # noqa: E402
from rep_kedro.training.portable import ARITHMETIC  # noqa: E402

STILL = {"flip_probability": 0.5, "brightness": 0.3, "contrast": 0.4, "noise_std": 0.05}
SCHEDULE = {"epochs": 1, "batch_size": 64, "learning_rate": 0.02}


def write_stimuli(folder: Path, pixels: "np.ndarray", labels: list[int], n_train: int) -> Path:
    """Write a stimulus set, first the training images; return its path."""
    table = pa.table(
        {
            "stimulus_id": [f"stimulus-{i}" for i in range(len(pixels))],
            "image": pa.array([encode_png(image) for image in pixels], pa.binary()),
            "label": pa.array(labels, pa.int32()),
            "split": ["train"] * n_train + ["test"] * (len(pixels) - n_train),
        }
    )
    meta = json.dumps({"class_names": [str(i) for i in range(10)], "image_size_px": pixels.shape[1]})
    path = folder / "digits.parquet"
    ArrowDataset(filepath=str(path), key="digits").save(table.replace_schema_metadata({b"meta": meta}))
    return path


def digests(stimulus_set: Path, emulator: list[str]) -> dict[str, str]:
    """Train in a process of its own, perhaps emulated; return digests of the weights by network."""
    networks = {}
    for architecture in ("cnn", "small_resnet"):
        for objective in ("supervised", "simclr", "vicreg"):
            spec = {
                "architecture": architecture,
                "objective": objective,
                "stimulus_set": "still",
                "seed": 0,
                "schedule": SCHEDULE,
                "options": {"views": STILL},
            }
            definition = load_architecture(architecture).as_json()
            networks[f"{architecture} {objective}"] = {"spec": spec, "definition": definition, "digest": ""}
    job = {
        "stimulus_sets": {"still": str(stimulus_set)},
        "networks": networks,
        "portable": True,
        **{
            "device": "cpu",
            "n_devices": 1,
            "rank": 0,
            "meeting": "",
            "memory_bytes": 2**30,
            "checkpoints": None,
        },
    }
    paths = [str(ROOT / "src"), *(path for path in sys.path if path.endswith("site-packages"))]
    settings = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(  # noqa: S603 - this program
        [*emulator, os.path.realpath(sys.executable), "-m", "rep_kedro.training.processes"],
        env=os.environ | ARITHMETIC | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if emulator else None,
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101
    process.stdin.write(json.dumps(job).encode() + b"\n")
    process.stdin.flush()
    found = {}
    for line in process.stdout:
        head = json.loads(line)
        content = process.stdout.read(head["n_bytes"])
        found[head["name"]] = hashlib.sha256(content).hexdigest()[:16]
    process.communicate()
    return found


def measure_cost(rounds: int) -> None:
    """Train the default networks on the default stimuli in turns; print the ratio of the times."""
    parameters = yaml.safe_load((ROOT / "conf/base/parameters_training.yml").read_text())["training"]
    images, labels = load_digits(return_X_y=True)
    pixels = np.repeat(np.rint(images * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1), 3, axis=3)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    held = TemporaryDirectory()
    stimuli = ArrowDataset.open_checked(write_stimuli(Path(held.name), pixels, labels.tolist(), 1200))
    for _ in range(rounds):
        for portable in (True, False):
            params = TrainingParams.model_validate({**parameters, "portable": portable})
            with TemporaryDirectory() as folder:
                began = time.perf_counter()
                collection = CollectionDataset(filepath=folder, member="rep_kedro.datasets.TensorsDataset")
                collection.save(plan_networks({"digits": stimuli}, params))
                seconds[portable].append(time.perf_counter() - began)
    for portable, found in seconds.items():
        print(f"portable {portable!s:5s} {' '.join(f'{each:.1f}' for each in found)} s")  # noqa: T201
    held.cleanup()
    print(f"ratio of the shortest times: {min(seconds[True]) / min(seconds[False]):.2f}")  # noqa: T201


def main() -> None:
    """Print digests, or times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", nargs="*", default=[], help="processors to emulate, as qemu names them")
    parser.add_argument("--cost", type=int, default=0, metavar="ROUNDS", help="measure times instead")
    arguments = parser.parse_args()
    if arguments.cost:
        measure_cost(arguments.cost)
        return
    with TemporaryDirectory() as folder:
        pixels = np.random.RandomState(0).randint(0, 256, (160, 16, 16, 3), dtype=np.uint8)
        stimulus_set = write_stimuli(Path(folder), pixels, [i % 10 for i in range(160)], 128)
        here = digests(stimulus_set, [])
        for name, digest in here.items():
            print(f"{name:20s} {digest}")  # noqa: T201
        for cpu in arguments.cpu:
            there = digests(stimulus_set, ["qemu-x86_64", "-cpu", cpu])
            n_equal = sum(there.get(name) == digest for name, digest in here.items())
            print(f"{cpu}: {n_equal} of {len(here)} networks equal to the last bit")  # noqa: T201


if __name__ == "__main__":
    main()

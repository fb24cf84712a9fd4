"""Layer-by-layer similarity of two networks with 30 layers each: ours and pytorch-cka on the same images.

Both sides extract what they compare: flattened maps of all layers, batch by batch, debiased linear CKA
averaged over the batches. Each runs in a process of its own with one thread; least processor time of the
rounds, in turns, and the peak of resident memory above that of the loaded networks and images. The time of
the forward passes alone is the floor that both share. Values are compared with those of pytorch-cka in
float64, cut at 0 as there. Peers need PEERS_PYTHON (``make bench-peers``); without it only ours runs.

Run: PEERS_PYTHON=.venv-peers/bin/python python benchmarks/bench_layers.py [--images 256] [--batch 64]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

N_LAYERS = 30


class PlainNetwork(nn.Module):
    """Thirty convolutions with rectifiers in three stages; each rectifier is a layer that is compared."""

    def __init__(self, width: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels = 3
        for index in range(N_LAYERS):
            stage = index // (N_LAYERS // 3)
            out, stride = width * 2**stage, 2 if index % (N_LAYERS // 3) == 0 and stage else 1
            parts.append(
                nn.Sequential(nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out))
            )
            parts.append(nn.ReLU())
            channels = out
        self.body = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last map."""
        found: Tensor = self.body(x)
        return found


def layer_names() -> list[str]:
    """Return the rectifiers."""
    return [f"body.{2 * index + 1}" for index in range(N_LAYERS)]


def make_work(options: argparse.Namespace) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return two networks and images, the same in every process.

    Batch normalisation knows the statistics of the images, as in trained networks: without them deep layers
    give nearly the same for every image.
    """
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(options.images, 3, options.px, options.px, generator=generator)
    networks = []
    for seed, width in ((0, options.width), (1, options.width + options.width // 2)):
        torch.manual_seed(seed)
        network = PlainNetwork(width)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
        with torch.no_grad():
            network.train()(images[:64])
        networks.append(network.eval())
    return networks[0], networks[1], images


def run_ours(a: nn.Module, b: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Stream both networks."""
    import rep_kedro

    found = rep_kedro.layer_similarity(
        a, b, images, layer_names(), stream=True, pool="flatten", batch_size=batch
    )
    return torch.from_numpy(found.values)


def run_pytorch_cka(a: nn.Module, b: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Compare as the package's README does."""
    from cka import compute_cka

    loader = torch.utils.data.DataLoader(images, batch_size=batch)
    [matrix] = compute_cka(a, b, loader, layers=layer_names(), device="cpu", progress=False)
    return matrix


def run_in_float64(a: nn.Module, b: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Compare as the package does, in float64: what both should give."""
    return run_pytorch_cka(a.double(), b.double(), images.double(), batch)


def run_forward(a: nn.Module, b: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Pass the images through both networks, nothing else."""
    with torch.no_grad():
        for shown in images.split(batch):
            a(shown), b(shown)
    return torch.zeros(1)


SIDES: dict[str, Callable[[nn.Module, nn.Module, Tensor, int], Tensor]] = {
    "ours": run_ours,
    "pytorch-cka": run_pytorch_cka,
    "float64": run_in_float64,
    "forward passes": run_forward,
}


def run_side(name: str, options: argparse.Namespace) -> None:
    """Time one side in this process and print its figures as JSON."""
    torch.set_num_threads(1)
    a, b, images = make_work(options)
    SIDES[name](a, b, images[:8], 8)  # imports and first calls
    before = resident_mb("VmRSS")
    clear_peak()
    start = time.process_time()
    values = SIDES[name](a, b, images, options.batch)
    seconds = time.process_time() - start
    figures = {"seconds": seconds, "mb": resident_mb("VmHWM") - before, "values": values.tolist()}
    sys.stdout.write("\n" + json.dumps(figures) + "\n")


def clear_peak() -> None:
    """Set the peak of resident memory back to what is resident (Linux)."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def resident_mb(field: str) -> float:
    """Return a line of /proc/self/status in megabytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        [line] = [line for line in file if line.startswith(field + ":")]
    return int(line.split()[1]) / 1000


def call_side(python: str, name: str, options: argparse.Namespace) -> dict[str, object] | str:
    """Run one side in a process of its own; return its figures, or the last line of its complaint."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    sizes = [f"--{key}={getattr(options, key)}" for key in ("images", "batch", "px", "width")]
    command = [python, __file__, f"--side={name}", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **single}, check=False)  # noqa: S603
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    figures: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Race ours against pytorch-cka."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("images", 256), ("batch", 64), ("px", 32), ("width", 16), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--side", help="run this side in this process")
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options)
        return
    peers = os.environ.get("PEERS_PYTHON")
    sides = {"ours": sys.executable, "forward passes": sys.executable}
    if peers:
        sides |= {"pytorch-cka": peers, "float64": peers}
    best: dict[str, dict[str, float]] = {}
    values: dict[str, Tensor] = {}
    for _ in range(options.rounds):
        for name, python in sides.items():
            figures = call_side(python, name, options)
            if isinstance(figures, str):
                sys.stdout.write(f"{name:16s} did not run: {figures}\n")
                return
            values[name] = torch.tensor(figures["values"], dtype=torch.float64).clamp(min=0)
            known = best.setdefault(name, {"seconds": float("inf"), "mb": float("inf")})
            best[name] = {key: min(known[key], float(figures[key])) for key in known}  # type: ignore[arg-type]
    sys.stdout.write(
        f"2 networks x {N_LAYERS} layers, {options.images} images of {options.px} px, batches of"
        f" {options.batch}, processor time of one thread\n"
    )
    for name, found in best.items():
        off = ""
        if peers and name in ("ours", "pytorch-cka"):
            off = f"   {(values[name] - values['float64']).abs().max():.1e} from float64"
        sys.stdout.write(f"{name:16s} {found['seconds']:8.2f} s {found['mb']:8.0f} MB{off}\n")
    if peers:
        ours, theirs, floor = best["ours"], best["pytorch-cka"], best["forward passes"]["seconds"]
        beyond = (theirs["seconds"] - floor) / (ours["seconds"] - floor)
        sys.stdout.write(
            f"pytorch-cka {version_of(peers)} / ours: time {theirs['seconds'] / ours['seconds']:.2f}, beyond"
            f" the forward passes {beyond:.2f}, memory {theirs['mb'] / ours['mb']:.1f}\n"
        )


def version_of(python: str) -> str:
    """Return the version of pytorch-cka of a Python."""
    code = "from importlib.metadata import version; print(version('pytorch-cka'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


if __name__ == "__main__":
    main()

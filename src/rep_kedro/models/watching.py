"""Watch the layers of a network while it is used: spectra of what they give before any norm.

Hooks read some positions of every watched layer and add their products to sums; nothing is kept but the sums.
While nothing is being watched, a hook returns at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.kernels.layers.neighbour_dimensions import NeighbourDimensions, measure_neighbour_dimensions
from rep_kedro.kernels.layers.positions import (
    Way,
    pick_nearest_positions,
    pick_random_positions,
    read_samples,
)
from rep_kedro.kernels.layers.spectrum import FLOAT32_NEGATIVE, compute_eigenvalues
from rep_kedro.kernels.layers.streaming import StreamedMoments
from rep_kedro.models.watched_layers import WatchedLayer, read_output

NOT_FINITE = "the layer gave NaN or infinity"
CONSTANT = "the layer does not vary"
NO_SAMPLES = "nothing was read of the layer"


@dataclass(frozen=True)
class WatchedSpectrum:
    """What was seen of a layer.

    Attributes:
        eigenvalues: Of the covariance of its samples, descending, shape (n_features,), float64; zeros where
            `reason` says why there is none.
        n_samples: How many samples.
        neighbours: Dimensions from neighbours, of channels averaged over positions; None if not asked for.
        reason: Why there is no spectrum; empty if there is one.
    """

    eigenvalues: Tensor
    n_samples: int
    neighbours: NeighbourDimensions | None
    reason: str


class LayerWatch:
    """Sums over what the layers of one network give, from `start` to `take`.

    Args:
        module: Any network.
        layers: What is watched.
        way: From positions to samples.
        nearest: Side of the grid of positions that is read; None to read random ones, or all.
        n_neighbours: The first stimuli that dimensions from neighbours are measured on; 0 for none.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[WatchedLayer],
        *,
        way: Way = "channelwise",
        nearest: int | None = None,
        n_neighbours: int = 0,
    ) -> None:
        self._way, self._nearest, self._n_neighbours = way, nearest, n_neighbours
        self.layers = tuple(layers)
        self._moments: dict[str, StreamedMoments] = {}
        self._kept: dict[str, list[Tensor]] = {}
        self._generator: torch.Generator | None = None
        self._n_positions: int | None = None
        self._reads_neighbours = False
        self._every, self._n_passes = 1, 0
        self.is_on = False
        parts = dict(module.named_modules())
        self._handles = [
            parts[layer.name].register_forward_hook(self._make_hook(layer.name)) for layer in layers
        ]
        self._handles.append(parts[layers[0].name].register_forward_pre_hook(self._count_pass))

    def start(
        self,
        *,
        n_positions: int | None = None,
        generator: torch.Generator | None = None,
        every: int = 1,
        neighbours: bool = False,
    ) -> None:
        """Read the passes that follow.

        Args:
            n_positions: Random positions of each stimulus; None for all.
            generator: Random stream of their draw, on the CPU; needed for random positions.
            every: One of so many passes is read, the first of them.
            neighbours: Whether to keep stimuli for dimensions from neighbours.
        """
        if n_positions is not None and generator is None:
            raise ValueError("random positions need a generator")
        self._n_positions, self._generator, self._reads_neighbours = n_positions, generator, neighbours
        self._every, self._n_passes = every, 0
        self.is_on = True

    def pause(self) -> None:
        """Let the passes that follow go by; the sums stay."""
        self.is_on = False

    def take(self) -> dict[str, WatchedSpectrum]:
        """Return what was seen since the last time, by layer, and forget it."""
        self.pause()
        moments, kept = self._moments, self._kept
        self._moments, self._kept = {}, {}
        return {
            layer.name: _summarise(moments.get(layer.name), kept.get(layer.name)) for layer in self.layers
        }

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def state(self) -> dict[str, Tensor]:
        """Return the sums, copied, for `load_state`."""
        found = {}
        for name, moments in self._moments.items():
            found[f"{name}/scatter"] = moments.scatter.clone()
            found[f"{name}/mean"] = moments.mean.clone()
            found[f"{name}/n_samples"] = torch.tensor([moments.n_samples])
        return found

    def load_state(self, state: Mapping[str, Tensor], device: torch.device | str) -> None:
        """Go on from the sums of another watch of the same network."""
        for key in state:
            name, _, kind = key.rpartition("/")
            if kind == "mean":
                moments = self._moments_of(name, len(state[key]), device)
                moments.mean.copy_(state[key])
                moments.scatter.copy_(state[f"{name}/scatter"])
                moments.n_samples = int(state[f"{name}/n_samples"])

    def _make_hook(self, name: str) -> Callable[..., None]:
        def hook(part: nn.Module, _: object, output: Any) -> None:
            if self.is_on and (self._n_passes - 1) % self._every == 0:
                with torch.no_grad():
                    self._read(name, read_output(part, output).detach())

        return hook

    def _count_pass(self, *_: object) -> None:
        self._n_passes += 1

    def _read(self, name: str, activation: Tensor) -> None:
        if self._reads_neighbours and self._n_neighbours:
            kept = self._kept.setdefault(name, [])
            missing = self._n_neighbours - sum(map(len, kept))
            if missing > 0:
                kept.append(read_samples(activation[:missing], "mean").clone())
        if self._nearest is not None:
            activation = pick_nearest_positions(activation, self._nearest)
        if self._n_positions is not None and self._generator is not None:
            activation = pick_random_positions(activation, self._n_positions, self._generator)
        samples = read_samples(activation, self._way)
        self._moments_of(name, samples.shape[1], samples.device).update(samples, check=False)

    def _moments_of(self, name: str, n_features: int, device: torch.device | str) -> StreamedMoments:
        if name not in self._moments:
            self._moments[name] = StreamedMoments(n_features, device=device, products=torch.float32)
        return self._moments[name]


def _summarise(moments: StreamedMoments | None, kept: Sequence[Tensor] | None) -> WatchedSpectrum:
    if moments is None or not moments.n_samples:
        return WatchedSpectrum(torch.zeros(0, dtype=torch.float64), 0, None, NO_SAMPLES)
    covariance = moments.covariance()
    zeros = torch.zeros(moments.n_features, dtype=torch.float64)
    if not bool(torch.isfinite(covariance).all()):
        return WatchedSpectrum(zeros, moments.n_samples, None, NOT_FINITE)
    neighbours = measure_neighbour_dimensions(torch.cat(list(kept)).cpu()) if kept else None
    if moments.is_constant():
        return WatchedSpectrum(zeros, moments.n_samples, neighbours, CONSTANT)
    eigenvalues = compute_eigenvalues(covariance, rounding=FLOAT32_NEGATIVE).cpu()
    return WatchedSpectrum(eigenvalues, moments.n_samples, neighbours, "")

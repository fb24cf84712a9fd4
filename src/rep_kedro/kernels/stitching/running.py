"""Runs several stitched networks at once: maps on samples, then the end network's tail on all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.precision import full_precision
from rep_kedro.kernels.stitching.activations import from_positions
from rep_kedro.kernels.stitching.maps import AffineMap
from rep_kedro.kernels.stitching.moments import PairedMoments


@dataclass(frozen=True)
class FrontLayer:
    """One layer of one network, where stitches begin.

    Attributes:
        samples: Activations in evaluation mode, (n_stimuli, n_positions, n_front), as `to_positions` gives
            them, on the positions of the end layer (`match_positions`); may be mapped from a file.
        moments: Of these samples with those of the end; training only.
        logits: Of the front network, (n_stimuli, n_classes); None where no target needs them.
    """

    samples: Tensor
    moments: PairedMoments | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class EndLayer:
    """One layer of one network, where stitches end, and what follows it.

    Attributes:
        shape: Of the activation of one stimulus, as the tail takes it.
        tail: What follows: from activations (n, *shape) to logits (n, n_classes); in evaluation mode, no
            parameter asks for a gradient, and no stimulus depends on others of the batch.
        tail_with_later: As the tail, and the outputs of layers behind the joint as well, each (n, ...), none
            of the last joint; None where ``later_layers`` is not used.
        samples: Activations of the end network itself, (n_stimuli, n_positions, n_end); None where no loss
            or penalty needs them.
        logits: Of the end network, (n_stimuli, n_classes); training only.
        labels: Class indices, (n_stimuli,), or which classes each stimulus has, 0 or 1,
            (n_stimuli, n_classes); training only.
        flatten: As in `to_positions`.
    """

    shape: tuple[int, ...]
    tail: Callable[[Tensor], Tensor]
    tail_with_later: Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]] | None = None
    samples: Tensor | None = None
    logits: Tensor | None = None
    labels: Tensor | None = None
    flatten: bool = False

    @property
    def has_several(self) -> bool:
        """Whether a stimulus may have several labels: then each class has a sigmoid of its own."""
        return self.labels is not None and self.labels.ndim == 2


def map_positions(weights: Tensor, biases: Tensor, samples: Tensor) -> Tensor:
    """Return samples behind each of k maps, by one batched product.

    Args:
        weights: Shape (k, n_end, n_front).
        biases: Shape (k, n_end).
        samples: Shape (k, n_stimuli, n_positions, n_front), or (1, ...) where all maps take the same ones.

    Returns:
        Shape (k, n_stimuli, n_positions, n_end).
    """
    k, n_end = biases.shape
    rows = samples.flatten(1, 2).expand(k, -1, -1)
    mapped = torch.baddbmm(biases[:, None], rows, weights.transpose(1, 2))
    return mapped.reshape(k, *samples.shape[1:3], n_end)


def run_tail(end: EndLayer, stitched: Tensor) -> Tensor:
    """Return the logits of k stitched networks, (k, n_stimuli, n_classes); the tail is called once.

    Args:
        end: Where they end.
        stitched: Shape (k, n_stimuli, n_positions, n_end).
    """
    flat = from_positions(stitched.flatten(0, 1), end.shape, flatten=end.flatten)
    logits = end.tail(flat)
    return logits.reshape(*stitched.shape[:2], logits.shape[1])


def run_tail_with_later(end: EndLayer, stitched: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return logits as `run_tail`, and the outputs of later layers, each (k, n_stimuli, ...).

    Raises:
        ValueError: If the end has no ``tail_with_later``.
    """
    if end.tail_with_later is None:
        raise ValueError("later_layers needs the outputs of layers behind the joint; give tail_with_later")
    flat = from_positions(stitched.flatten(0, 1), end.shape, flatten=end.flatten)
    logits, later = end.tail_with_later(flat)
    sizes = (len(stitched), -1)
    return logits.reshape(*sizes, logits.shape[1]), [x.reshape(*sizes, *x.shape[1:]) for x in later]


def run_maps(
    maps: Sequence[AffineMap], samples: Tensor, end: EndLayer, *, stimuli_per_call: int = 256
) -> Tensor:
    """Return the logits of stitched networks that share front and end, without gradients.

    Args:
        maps: k maps from the front to the end.
        samples: Of the front, (n_stimuli, n_positions, n_front), as in `FrontLayer`.
        end: Where they end.
        stimuli_per_call: Changes memory and speed, not the result beyond rounding: about so many stimuli,
            counted once per map, pass the tail together.

    Returns:
        Shape (k, n_stimuli, n_classes), dtype of the samples.

    Raises:
        ValueError: If there is no map or no stimulus, or widths do not fit.
    """
    if not maps or not len(samples) or any(m.weight.shape[1] != samples.shape[2] for m in maps):
        raise ValueError(
            "stitched networks need stimuli and maps from their channels, got samples of shape "
            f"{tuple(samples.shape)} and weights of shapes {sorted({tuple(m.weight.shape) for m in maps})}"
        )
    weights = torch.stack([fitted.weight for fitted in maps]).to(samples)
    biases = torch.stack([fitted.bias for fitted in maps]).to(samples)
    parts = torch.split(samples, max(1, stimuli_per_call // len(maps)))
    with torch.no_grad(), full_precision():
        return torch.cat([run_tail(end, map_positions(weights, biases, part[None])) for part in parts], dim=1)

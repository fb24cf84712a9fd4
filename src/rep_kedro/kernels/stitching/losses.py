"""What the training of stitches minimises, for k stitches at once; each function gives one value per stitch.

Values of different stitches never mix: the gradient of their sum is each one's own.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Batch(NamedTuple):
    """One batch of stimuli as k stitches see it.

    Attributes:
        stitched: Activations behind the map, (k, n_stimuli, n_values), every value of a stimulus in one row.
        original: Activations of the end network itself, same shape, or (1, ...) where all stitches see the
            same stimuli; None where nothing needs them.
        logits: Of the stitched networks, (k, n_stimuli, n_classes); None where no tail was run.
        target: Probabilities, (1 or k, n_stimuli, n_classes); None where no tail was run.
        temperature: Shape (k, 1, 1).
        has_several: Whether a stimulus may have several labels: then each class has a sigmoid of its own.
    """

    stitched: Tensor
    original: Tensor | None
    logits: Tensor | None
    target: Tensor | None
    temperature: Tensor
    has_several: bool = False

    def pick(self, places: Tensor) -> "Batch":
        """Return what some of the stitches see."""
        if len(places) == len(self.stitched):
            return self
        original, logits, target = (
            x if x is None or len(x) == 1 else x[places] for x in (self.original, self.logits, self.target)
        )
        temperature = self.temperature[places]
        return Batch(self.stitched[places], original, logits, target, temperature, self.has_several)


def measure_task_loss(batch: Batch) -> Tensor:
    """Return the cross-entropy of logits / temperature with the target, mean over stimuli, in nats, (k,).

    Of several labels of a stimulus it is the binary cross-entropy, mean over classes too.
    """
    if batch.logits is None or batch.target is None:
        raise ValueError("the task loss needs logits and a target, got none")
    scaled = batch.logits / batch.temperature
    if batch.has_several:  # t log s(x) + (1 - t) log s(-x), with log s(x) = x + log s(-x)
        return -(batch.target * scaled + logsigmoid(-scaled)).mean(dim=(-2, -1))
    log_probabilities = scaled.log_softmax(dim=-1)
    return -(batch.target * log_probabilities).sum(dim=-1).mean(dim=-1)


def measure_squared_error(batch: Batch) -> Tensor:
    """Return the mean squared difference of activations at the joint, (k,)."""
    return (batch.stitched - _require_original(batch)).square().mean(dim=(1, 2))


def measure_dissimilarity(batch: Batch) -> Tensor:
    """Return 1 - CKA of activations at the joint, in [0, 1], (k,)."""
    return 1.0 - measure_cka(batch)


def measure_cka(batch: Batch) -> Tensor:
    """Return linear CKA (biased) of stitched and original activations over the batch, in [0, 1], (k,).

    NaN where either does not vary over the stimuli.

    Source:
        Kornblith et al. 2019, arXiv:1905.00414, section 3; all values of a stimulus are its features.
    """
    ours, theirs = (_centred_gram(x) for x in (batch.stitched, _require_original(batch)))
    inner = (ours * theirs).sum(dim=(1, 2))
    return inner / (ours.square().sum(dim=(1, 2)) * theirs.square().sum(dim=(1, 2))).sqrt()


def distance_of_layers(stitched: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
    """Return how far layers behind the joint are from what they are in the end network itself, (k,).

    Mean over layers of the squared distance, relative to the squared length of the original (both over the
    batch): 0 where they are equal, 1 for a layer of zeros.

    Args:
        stitched: One tensor per layer, (k, n_stimuli, ...).
        original: The same layers of the end network, same shapes, or (1, n_stimuli, ...).

    Source:
        Athanasiadis, Karmush & Felsberg 2025, arXiv:2505.20142 (functional latent alignment); layers weigh
        equally, and the joint itself is the loss ``mse``.
    """
    distances = [
        (ours - theirs).flatten(1).square().sum(dim=1) / theirs.flatten(1).square().sum(dim=1)
        for ours, theirs in zip(stitched, original, strict=True)
    ]
    return torch.stack(distances).mean(dim=0)


LOSSES: dict[str, Callable[[Batch], Tensor]] = {
    "task": measure_task_loss,
    "mse": measure_squared_error,
    "cka": measure_dissimilarity,
}


def _centred_gram(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=1, keepdim=True)
    return torch.bmm(centred, centred.transpose(1, 2))


def _require_original(batch: Batch) -> Tensor:
    if batch.original is None:
        raise ValueError("this loss needs the original activations, got none")
    return batch.original

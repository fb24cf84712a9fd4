"""How a stitched network's outputs compare with those of the network it ends in.

Every measure is a mean over stimuli of one value each, or a ratio of two such means; so the bootstrap over
stimuli is one product, paired between networks that share the counts.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rep_kedro.kernels.statistics.stimulus_bootstrap import require_counts

RESAMPLED = ("accuracy", "relative_accuracy", "agreement", "cross_entropy", "kl_divergence", "js_divergence")
"""Fields of `OutputComparison` that `resample_outputs` gives."""


class OutputComparison(NamedTuple):
    """How a stitched network's outputs compare with those of the network it ends in.

    Attributes:
        accuracy: Share of stimuli that the stitched network gets right: they have the class with its largest
            logit.
        end_accuracy: Share that the end network gets right by itself.
        relative_accuracy: The former over the latter; NaN if the end network gets none right.
        agreement: Share of stimuli with equal predictions.
        cross_entropy: -sum p_end log p_stitched, mean over stimuli, in nats; with several labels of a
            stimulus the sum of the binary cross-entropies of the classes, as of the divergences.
        class_averaged_cross_entropy: The cross-entropy averaged over classes as well, as the original reports
            it: divided by their number.
        kl_divergence: The cross-entropy less the entropy of the end network's outputs, in nats.
        js_divergence: Jensen-Shannon divergence of the two outputs, mean over stimuli, in nats, in
            [0, log 2]; of each class with several labels.
        n_both_right: Stimuli that both get right.
        n_stitched_right: Stimuli that the stitched network alone gets right.
        n_end_right: Stimuli that the end network alone gets right.
        n_both_wrong: Stimuli that neither gets right.
    """

    accuracy: float
    end_accuracy: float
    relative_accuracy: float
    agreement: float
    cross_entropy: float
    class_averaged_cross_entropy: float
    kl_divergence: float
    js_divergence: float
    n_both_right: int
    n_stitched_right: int
    n_end_right: int
    n_both_wrong: int


def compare_outputs(stitched: Tensor, end: Tensor, labels: Tensor) -> OutputComparison:
    """Compare the logits of a stitched network with those of the network it ends in.

    Args:
        stitched: Shape (n_stimuli, n_classes).
        end: Shape (n_stimuli, n_classes), the same stimuli.
        labels: Class indices, (n_stimuli,); or which classes each stimulus has, 0 or 1,
            (n_stimuli, n_classes): then each class has a sigmoid of its own.

    Returns:
        See :class:`OutputComparison`.

    Raises:
        ValueError: If shapes differ, there is no stimulus, or a logit is not finite.

    Source:
        Csiszárik et al. 2021, arXiv:2110.14633 (relative accuracy); cross-entropy summed, not averaged,
        over classes.
    """
    values = _values_of_stimuli(stitched, end, labels)
    n_right, n_right_end = int(values["right"].sum()), int(values["end_right"].sum())
    n_both_right = int((values["right"] * values["end_right"]).sum())
    cross_entropy = values["cross_entropy"].mean().item()
    return OutputComparison(
        accuracy=n_right / len(end),
        end_accuracy=n_right_end / len(end),
        relative_accuracy=n_right / n_right_end if n_right_end else math.nan,
        agreement=int(values["agreement"].sum()) / len(end),
        cross_entropy=cross_entropy,
        class_averaged_cross_entropy=cross_entropy / end.shape[1],
        kl_divergence=cross_entropy - values["entropy"].mean().item(),
        js_divergence=values["js_divergence"].mean().item(),
        n_both_right=n_both_right,
        n_stitched_right=n_right - n_both_right,
        n_end_right=n_right_end - n_both_right,
        n_both_wrong=len(end) - n_right - n_right_end + n_both_right,
    )


def resample_outputs(stitched: Tensor, end: Tensor, labels: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Return what `compare_outputs` gives in resamples of the stimuli.

    Networks compared on the same counts are paired: the difference of two columns varies as their difference
    does.

    Args:
        stitched: Logits of k stitched networks, (k, n_stimuli, n_classes).
        end: Logits of the network they end in, (n_stimuli, n_classes).
        labels: Class indices, (n_stimuli,); or which classes each stimulus has, 0 or 1,
            (n_stimuli, n_classes): then each class has a sigmoid of its own.
        counts: How often each stimulus is in each resample, (n_resamples, n_stimuli), from
            ``draw_bootstrap_counts``.

    Returns:
        By the names of ``RESAMPLED``: float64 (n_resamples, k); NaN for the relative accuracy where the end
        network gets none right. ``summarise_replicates`` turns them, or differences of columns, into
        intervals.

    Raises:
        ValueError: As `compare_outputs`, or if counts do not fit.

    Source:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 6.
    """
    weights = require_counts(counts, len(end)) / counts.sum(dim=1, keepdim=True)
    found = [_values_of_stimuli(one, end, labels) for one in stitched]
    means = {name: weights @ torch.stack([values[name] for values in found], dim=1) for name in found[0]}
    return {
        "accuracy": means["right"],
        "relative_accuracy": means["right"] / means["end_right"],
        "agreement": means["agreement"],
        "cross_entropy": means["cross_entropy"],
        "kl_divergence": means["cross_entropy"] - means["entropy"],
        "js_divergence": means["js_divergence"],
    }


def _values_of_stimuli(stitched: Tensor, end: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return what is averaged over stimuli, float64 (n_stimuli,) each."""
    wanted = end.shape[:1] if labels.ndim == 1 else end.shape
    if stitched.shape != end.shape or stitched.ndim != 2 or labels.shape != wanted or not len(end):
        raise ValueError(
            "outputs must have one shape (n_stimuli, n_classes) and labels for each stimulus, "
            f"got {tuple(stitched.shape)}, {tuple(end.shape)} and {tuple(labels.shape)}"
        )
    if not bool(torch.isfinite(stitched).all() and torch.isfinite(end).all()):
        raise ValueError("outputs must be finite, got NaN or infinity")
    log_stitched, log_end = (_log_probabilities(x, labels) for x in (stitched, end))
    log_mean = torch.logaddexp(log_stitched, log_end) - math.log(2.0)
    divergences = [(log.exp() * (log - log_mean)).sum(dim=1) for log in (log_stitched, log_end)]
    return {
        "right": find_hits(stitched, labels).double(),
        "end_right": find_hits(end, labels).double(),
        "agreement": (stitched.argmax(dim=1) == end.argmax(dim=1)).double(),
        "cross_entropy": -(log_end.exp() * log_stitched).sum(dim=1),
        "entropy": -(log_end.exp() * log_end).sum(dim=1),
        "js_divergence": (divergences[0] + divergences[1]) / 2.0,
    }


def find_hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether each stimulus has the class with the largest logit, bool (n_stimuli,)."""
    chosen = logits.argmax(dim=1)
    return chosen == labels if labels.ndim == 1 else labels.gather(1, chosen[:, None])[:, 0] > 0


def _log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log-probabilities of classes, or of each class and its absence, float64 (n_stimuli, n)."""
    exact = logits.to(torch.float64)
    if labels.ndim == 1:
        return exact.log_softmax(dim=1)
    return torch.cat([logsigmoid(exact), logsigmoid(-exact)], dim=1)

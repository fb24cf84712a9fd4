"""Pairs of entries that two rankings order in the same way."""

import torch
from torch import Tensor


def concordance_surplus(a: Tensor, b: Tensor) -> float:
    """Return concordant less discordant pairs of entries, from tau-b, in O(N log N)."""
    from scipy.stats import kendalltau

    untied = [_untied_pairs(a), _untied_pairs(b)]
    if not all(untied):
        return 0.0
    tau_b = kendalltau(a.cpu().numpy(), b.cpu().numpy(), method="asymptotic").statistic
    return float(round(tau_b * untied[0] ** 0.5 * untied[1] ** 0.5))


def _untied_pairs(ranks: Tensor) -> float:
    _, counts = torch.unique_consecutive(ranks.sort().values, return_counts=True)
    return float(len(ranks) ** 2 - counts.double().square().sum()) / 2

"""Sets of models: the accuracy of their averaged probabilities, and how similar their members are.

All sets are rows of one membership matrix, so that a thousand sets cost two matrix products.
"""

import torch
from torch import Tensor


def count_ensemble_hits(probabilities: Tensor, labels: Tensor, members: Tensor) -> Tensor:
    """Return on how many stimuli the mean of a set's probabilities has its maximum at the right class.

    Args:
        probabilities: Shape (n_models, n_stimuli, n_classes), rows sum to 1.
        labels: Right classes as columns of the probabilities, int64, shape (n_stimuli,).
        members: Which models are in which set, bool, shape (n_sets, n_models).

    Returns:
        Counts, int64, shape (n_sets,); of classes with equal probability the first counts.

    Raises:
        ValueError: If a probability is NaN or infinite.

    Example:
        >>> unsure, sure = [[0.6, 0.4]], [[0.1, 0.9]]
        >>> members = torch.tensor([[True, False], [True, True]])
        >>> count_ensemble_hits(torch.tensor([unsure, sure]), torch.tensor([1]), members).tolist()
        [0, 1]
    """
    n_models, n_stimuli, n_classes = probabilities.shape
    flat = probabilities.double().reshape(n_models, n_stimuli * n_classes)
    if not flat.isfinite().all():
        bad = (~flat.isfinite().all(dim=1)).nonzero().flatten().tolist()
        raise ValueError(
            f"probabilities of models {bad} are NaN or infinite; need finite numbers from 0 to 1"
        )
    sums = (members.double() @ flat).reshape(len(members), n_stimuli, n_classes)
    return (sums.argmax(dim=2) == labels).sum(dim=1)


def average_within(similarities: Tensor, members: Tensor) -> Tensor:
    """Return the mean similarity of two different members of each set.

    Args:
        similarities: Shape (n_models, n_models), symmetric; the diagonal does not count.
        members: Which models are in which set, bool, shape (n_sets, n_models).

    Returns:
        Float64, shape (n_sets,); NaN for sets of fewer than two, and where a similarity within is NaN.

    Example:
        >>> similarities = torch.tensor([[1.0, 0.25, 0.5], [0.25, 1.0, 0.75], [0.5, 0.75, 1.0]])
        >>> average_within(similarities, torch.tensor([[True, True, True], [True, False, True]])).tolist()
        [0.5, 0.5]
    """
    between = similarities.double().clone().fill_diagonal_(0.0)
    chosen = members.double()
    undefined = between.isnan()
    total = ((chosen @ between.masked_fill(undefined, 0.0)) * chosen).sum(dim=1)
    n_undefined = ((chosen @ undefined.double()) * chosen).sum(dim=1)
    sizes = chosen.sum(dim=1)
    n_pairs = sizes * (sizes - 1)
    return torch.where((n_undefined == 0) & (n_pairs > 0), total / n_pairs, torch.nan)

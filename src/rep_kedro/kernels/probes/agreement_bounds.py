"""How far two classifiers can disagree, given how often each is right."""

from torch import Tensor


def bound_disagreement(n_right: Tensor, *, n_stimuli: int, n_classes: int) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest share of stimuli that two models can put into different classes.

    Of n stimuli let model a get r_a right, model b r_b, and both k, so that max(0, r_a + r_b - n) <= k <=
    min(r_a, r_b). They disagree on the r_a + r_b - 2 k stimuli that only one gets right, agree on the k that
    both do, and may do either on the n - r_a - r_b + k that both get wrong, where with two classes they must
    agree. The least disagreement has the largest k and agreement on all errors, the greatest the smallest k
    and, from three classes on, disagreement on all errors.

    Args:
        n_right: How many stimuli each model gets right, integers, shape (n_models,).
        n_stimuli: How many there are, at least one.
        n_classes: How many classes a model chooses from, at least two.

    Returns:
        Lowest and highest share, float64, shape (n_models, n_models), symmetric; both are reached by some
        predictions, also on the diagonal, where two models of one accuracy are meant.

    Raises:
        ValueError: If there is no stimulus or class to choose, or more are right than there are.

    Source: The case of the least of Geirhos et al. 2020, arXiv:2006.16736, section 2.1, in counts.

    Example:
        >>> import torch
        >>> low, high = bound_disagreement(torch.tensor([9, 6]), n_stimuli=10, n_classes=3)
        >>> low[0, 1].item(), high[0, 1].item()
        (0.3, 0.5)
    """
    if n_stimuli < 1 or n_classes < 2:
        raise ValueError(
            f"disagreement needs at least 1 stimulus and 2 classes, got {n_stimuli} and {n_classes}"
        )
    if n_right.is_floating_point() or ((n_right < 0) | (n_right > n_stimuli)).any():
        raise ValueError(
            f"counts of right answers must be integers from 0 to {n_stimuli}, got {n_right.tolist()}"
        )
    one, other = n_right[:, None], n_right[None, :]
    both_at_least = (one + other - n_stimuli).clamp(min=0)
    most = one + other - 2 * both_at_least if n_classes == 2 else n_stimuli - both_at_least
    return (one - other).abs().double() / n_stimuli, most.double() / n_stimuli

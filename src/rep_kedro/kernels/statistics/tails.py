"""The tail of a network: the last layers, whose probes are no better than those of the layers before."""

import numpy as np
from numpy.typing import NDArray


def find_tail(accuracies: NDArray[np.float64], epsilon: float) -> int | None:
    """Return the first layer from which the gain of probes stays below a bound.

    The gain of a layer t is what it and all later layers add to the best accuracy before:
    max(a_t, ..., a_L) - max(a_1, ..., a_(t-1)). A dip that later layers make good is not a gain.

    Args:
        accuracies: Of one probe per layer, in depth order, (n_layers,), from 0 to 1.
        epsilon: The bound, above 0.

    Returns:
        Place of the layer, at least 1; None if even the last layer gains `epsilon` or more.

    Raises:
        ValueError: If there are no accuracies, one is NaN, or `epsilon` is not above 0.

    Source:
        "Tail" of Richter et al. 2021, arXiv:2102.01582, section 3.3, there by eye.

    Example:
        >>> find_tail(np.array([0.4, 0.8, 0.9, 0.6, 0.902]), 0.01), find_tail(np.array([0.4, 0.9]), 0.01)
        (3, None)
    """
    if not len(accuracies) or np.isnan(accuracies).any() or not epsilon > 0:
        raise ValueError(f"accuracies {accuracies.tolist()} with epsilon {epsilon} have no tail")
    before = np.maximum.accumulate(accuracies)[:-1]
    after = np.maximum.accumulate(accuracies[::-1])[::-1][1:]
    is_tail = after - before < epsilon
    return int(is_tail.argmax()) + 1 if is_tail.any() else None

"""Ratio of two paired shares: the score statistic, by a search for the likeliest shares of that ratio."""

import math

STEPS = 200


def deviate(n_both, n_first, n_second, ratio):
    """Return by how many standard deviations the counts exceed a ratio.

    With share f in the first alone, `both + first = ratio * (both + second)` leaves
    second = 1 - ratio (1 - f) and both = ratio (1 - f) - f; the likelihood is concave in f.
    """

    def likelihood(f):
        shares = (ratio * (1 - f) - f, f, 1 - ratio * (1 - f))
        terms = zip((n_both, n_first, n_second), shares, strict=True)
        return sum(n * math.log(share) if share > 0 else -math.inf for n, share in terms if n)

    low, high = max(0.0, 1 - 1 / ratio), ratio / (1 + ratio)
    for _ in range(STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if likelihood(left) < likelihood(right):
            low = left
        else:
            high = right
    f = (low + high) / 2
    variance = ratio * (n_both + n_first + n_second) * (f + 1 - ratio * (1 - f))
    return (n_both + n_first - ratio * (n_both + n_second)) / math.sqrt(variance)

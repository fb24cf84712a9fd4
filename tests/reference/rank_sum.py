"""Wilcoxon's rank sum by counting: how often is a value of the first sample larger?"""

import math


def rank_sum(first, second):
    """Standardised number of wins of the first sample (a tie is half a win), two-sided normal p-value."""
    wins = sum((a > b) + (a == b) / 2 for a in first for b in second)
    n, m = len(first), len(second)
    z = (wins - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return z, math.erfc(abs(z) / math.sqrt(2))

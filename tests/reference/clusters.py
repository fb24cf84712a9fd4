"""Silhouettes straight from the definition, with loops."""

import math


def silhouettes(dissimilarities, labels):
    found = []
    for i, own in enumerate(labels):
        means = {}
        for label in sorted(set(labels)):
            others = [dissimilarities[i][j] for j, other in enumerate(labels) if other == label and j != i]
            means[label] = sum(others) / len(others) if others else math.nan
        a = means.pop(own)
        b = min(means.values(), default=math.nan)
        found.append(
            (b - a) / max(a, b) if math.isfinite(a) and math.isfinite(b) and max(a, b) > 0 else math.nan
        )
    return found

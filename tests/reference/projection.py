"""Projection onto directions, one sample at a time."""


def project(sample, columns, origin):
    """Return origin + sum over columns v of <sample - origin, v> v."""
    result = list(origin)
    for column in columns:
        weight = sum((x - o) * v for x, o, v in zip(sample, origin, column, strict=True))
        result = [r + weight * v for r, v in zip(result, column, strict=True)]
    return result

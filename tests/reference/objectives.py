"""Self-supervised losses with plain loops, from the papers' formulas, in float64."""

import math


def nt_xent(first, second, temperature):
    """Mean over 2n anchors of -ln(exp(s_ip / t) / sum over j != i of exp(s_ij / t)), s the cosine."""
    rows = [*first.tolist(), *second.tolist()]
    n = len(first)
    total = 0.0
    for i, anchor in enumerate(rows):
        partner = (i + n) % (2 * n)
        others = [math.exp(_cosine(anchor, row) / temperature) for j, row in enumerate(rows) if j != i]
        total -= math.log(math.exp(_cosine(anchor, rows[partner]) / temperature) / sum(others))
    return total / (2 * n)


def vicreg(first, second):
    """Invariance, variance (mean of both sets) and covariance (sum of both sets), unweighted."""
    a, b = first.tolist(), second.tolist()
    n, d = len(a), len(a[0])
    invariance = sum((x - y) ** 2 for r, s in zip(a, b, strict=True) for x, y in zip(r, s, strict=True)) / (
        n * d
    )
    variance = covariance = 0.0
    for rows in (a, b):
        columns = list(zip(*rows, strict=True))
        means = [sum(column) / n for column in columns]
        centred = [[x - mean for x in column] for column, mean in zip(columns, means, strict=True)]
        for j in range(d):
            own = sum(x * x for x in centred[j]) / (n - 1)
            variance += max(0.0, 1 - math.sqrt(own + 1e-4)) / d / 2
            for k in range(d):
                if k != j:
                    covariance += (
                        sum(x * y for x, y in zip(centred[j], centred[k], strict=True)) / (n - 1)
                    ) ** 2 / d
    return invariance, variance, covariance


def barlow_twins(first, second):
    """Squared distances of the diagonal of the correlations from 1, and squares off it; summed."""
    a, b = (_standardised(rows.tolist()) for rows in (first, second))
    n, d = len(first), len(a)
    invariance = redundancy = 0.0
    for i in range(d):
        for j in range(d):
            entry = sum(x * y for x, y in zip(a[i], b[j], strict=True)) / n
            if i == j:
                invariance += (1 - entry) ** 2
            else:
                redundancy += entry**2
    return invariance, redundancy


def byol(predicted, target):
    """Mean of 2 - 2 cos over the rows."""
    rows = list(zip(predicted.tolist(), target.tolist(), strict=True))
    return sum(2 - 2 * _cosine(x, y) for x, y in rows) / len(rows)


def dino(student, teacher, centre, student_temperature, teacher_temperature):
    """Mean over images and unlike views t, s of -sum of P_t ln P_s, P softmax; teachers are centred."""
    total = n_terms = 0
    for t, wanted in enumerate(teacher.tolist()):
        for s, chosen in enumerate(student.tolist()):
            for row, other in zip(wanted, chosen, strict=True):
                shifted = [x - c for x, c in zip(row, centre.tolist(), strict=True)]
                p, q = _softmax(shifted, teacher_temperature), _softmax(other, student_temperature)
                if s != t:
                    total -= sum(x * math.log(y) for x, y in zip(p, q, strict=True))
                    n_terms += 1
    return total / n_terms


def dino_centre(centre, teacher, momentum):
    """The centre's share plus the mean over views and images."""
    rows = [row for view in teacher.tolist() for row in view]
    return [
        momentum * c + (1 - momentum) * sum(row[k] for row in rows) / len(rows)
        for k, c in enumerate(centre.tolist())
    ]


def _softmax(row, temperature):
    powers = [math.exp(x / temperature) for x in row]
    return [power / sum(powers) for power in powers]


def soft_maximum(rows, temperature):
    """(1 / k) sum over i of ln sum over j != i of exp(C_ij / t), C the covariances of the columns."""
    columns = list(zip(*rows.tolist(), strict=True))
    n, k = len(columns[0]), len(columns)
    centred = [[x - sum(column) / n for x in column] for column in columns]
    total = 0.0
    for i in range(k):
        covariances = [
            sum(x * y for x, y in zip(centred[i], centred[j], strict=True)) / (n - 1)
            for j in range(k)
            if j != i
        ]
        total += math.log(sum(math.exp(each / temperature) for each in covariances))
    return total / k


def _standardised(rows):
    """Columns with mean 0 and deviation 1 (biased variance plus 1e-5)."""
    found = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        variance = sum((x - mean) ** 2 for x in column) / len(column)
        found.append([(x - mean) / math.sqrt(variance + 1e-5) for x in column])
    return found


def _cosine(x, y):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))

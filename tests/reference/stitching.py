"""Maps by dense least squares on all samples at once, and output comparison stimulus by stimulus."""

import math

import torch


def affine_map(front, end):
    """Least squares with a column of ones, by the pseudo-inverse of the whole sample matrix."""
    padded = torch.cat([front, torch.ones(len(front), 1, dtype=front.dtype)], dim=1)
    solution = torch.linalg.pinv(padded) @ end
    return solution[:-1].T, solution[-1]


def r2(weight, bias, front, end):
    rest = end - (front @ weight.T + bias)
    return 1.0 - (rest.square().sum() / (end - end.mean(dim=0)).square().sum()).item()


def mapped_position(weight, bias, vector):
    return [bias[i] + sum(weight[i][j] * vector[j] for j in range(len(vector))) for i in range(len(bias))]


def cross_entropy(stitched, end):
    """Mean over stimuli of -sum p_end log p_stitched, in nats."""
    total = 0.0
    for row, row_end in zip(stitched, end, strict=True):
        norm, norm_end = (math.log(math.fsum(math.exp(v) for v in logits)) for logits in (row, row_end))
        total -= math.fsum(math.exp(e - norm_end) * (s - norm) for s, e in zip(row, row_end, strict=True))
    return total / len(stitched)


def compare_several(stitched, end):
    """Cross-entropy and Jensen-Shannon divergence of a sigmoid for each class: sums over classes."""

    def divergence(p, m):
        return math.fsum(a * math.log(a / b) for a, b in ((p, m), (1 - p, 1 - m)))

    entropies, divergences = [], []
    for rows in zip(stitched, end, strict=True):
        for logits in zip(*rows, strict=True):
            q, p = (1 / (1 + math.exp(-x)) for x in logits)
            entropies.append(-p * math.log(q) - (1 - p) * math.log(1 - q))
            divergences.append((divergence(p, (p + q) / 2) + divergence(q, (p + q) / 2)) / 2)
    return math.fsum(entropies) / len(end), math.fsum(divergences) / len(end)


def ridge_map(front, end, ridge):
    """Least squares with sqrt(n * ridge) times the standardised identity as further samples."""
    mean, scale = front.mean(dim=0), front.std(dim=0, correction=0)
    x = (front - mean) / scale
    penalty = math.sqrt(len(front) * ridge) * torch.eye(x.shape[1], dtype=x.dtype)
    rows = torch.cat([x, penalty])
    targets = torch.cat([end - end.mean(dim=0), torch.zeros(x.shape[1], end.shape[1], dtype=x.dtype)])
    weight = torch.linalg.lstsq(rows, targets).solution.T / scale
    return weight, end.mean(dim=0) - weight @ mean


def masked_map(front, end, mask):
    """Least squares of each end channel on the front channels that its row of the mask keeps."""
    weight, bias = torch.zeros(mask.shape, dtype=front.dtype), torch.zeros(len(mask), dtype=front.dtype)
    for i, row in enumerate(mask):
        own, b = affine_map(front[:, row], end[:, i : i + 1])
        weight[i, row], bias[i] = own[0], b[0]
    return weight, bias


def mahalanobis(stitched, end):
    """Mean over samples of the squared distance from the end's samples, over the number of channels."""
    deviations = end - end.mean(dim=0)
    inverse = torch.linalg.inv(deviations.T @ deviations / len(end))
    distances = [(y - end.mean(dim=0)) @ inverse @ (y - end.mean(dim=0)) for y in stitched]
    return sum(distances).item() / len(distances) / end.shape[1]


def js_divergence(stitched, end):
    """Mean over stimuli of the mean divergence from the mean distribution, in nats."""
    total = 0.0
    for row, row_end in zip(stitched, end, strict=True):
        powers = [[math.exp(v) for v in logits] for logits in (row, row_end)]
        p, q = ([v / math.fsum(own) for v in own] for own in powers)
        for own in (p, q):
            total += math.fsum(a * math.log(a / ((b + c) / 2)) for a, b, c in zip(own, p, q, strict=True)) / 2
    return total / len(stitched)

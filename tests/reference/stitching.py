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

"""Linear probes one at a time, with torch's own AdamW and automatic gradients."""

import math

import torch

INITIAL_SPREAD = 0.01


def train_adamw(x, labels, *, n_classes, learning_rate, weight_decay, seed, n_epochs, batch_size):
    """Return (n_features + 1, n_classes); weights start and samples are ordered as the seed says."""
    generator = torch.Generator().manual_seed(seed)
    first = (torch.randn(x.shape[1] + 1, n_classes, generator=generator) * INITIAL_SPREAD).to(x.dtype)
    weight = first[:-1].clone().requires_grad_()
    bias = torch.zeros(n_classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}],
        lr=learning_rate,
    )
    n_steps = n_epochs * math.ceil(len(x) / batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: 0.5 * (1.0 + math.cos(math.pi * t / n_steps))
    )
    for _ in range(n_epochs):
        for chosen in torch.randperm(len(x), generator=generator).split(batch_size):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(x[chosen] @ weight + bias, labels[chosen])
            loss.backward()
            optimiser.step()
            schedule.step()
    return torch.cat([weight, bias[None]]).detach()


def predict_logits(weights, x):
    """Return (n_samples, n_classes) for weights whose last row is the bias."""
    return x.to(weights.dtype) @ weights[:-1] + weights[-1]


def penalised_loss(weights, x, labels, *, weight_decay):
    """Mean cross-entropy in nats plus half the squared weights times the decay, sample by sample."""
    total = 0.0
    for row, label in zip(x.tolist(), labels.tolist(), strict=True):
        logits = [
            weights[-1, c].item() + math.fsum(row[j] * weights[j, c].item() for j in range(len(row)))
            for c in range(weights.shape[1])
        ]
        top = max(logits)
        total += top + math.log(math.fsum(math.exp(v - top) for v in logits)) - logits[label]
    return total / len(labels) + 0.5 * weight_decay * weights[:-1].square().sum().item()


def balanced_accuracy(predictions, labels):
    recalls = []
    for label in sorted(set(labels)):
        hits = [p == label for p, y in zip(predictions, labels, strict=True) if y == label]
        recalls.append(sum(hits) / len(hits))
    return sum(recalls) / len(recalls)

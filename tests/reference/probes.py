"""Linear probes one at a time, with torch's own AdamW and automatic gradients."""

import math

import torch

INITIAL_SPREAD = 0.01


def train_adamw(x, labels, *, n_classes, weight_decay, **options):
    """Return (n_features + 1, n_classes); weights start and samples are ordered as the seed says."""

    def loss(weight, bias, chosen):
        return torch.nn.functional.cross_entropy(x[chosen] @ weight + bias, labels[chosen])

    shape = {"n_classes": n_classes, "dtype": x.dtype, "weight_decay": weight_decay}
    return train_adamw_on(loss, len(x), x.shape[1], **shape, **options)


def train_adamw_on(
    loss_of,
    n_samples,
    n_features,
    *,
    n_classes,
    learning_rate,
    n_epochs,
    batch_size,
    seed=0,
    weight_decay=0.0,
    dtype=torch.float64,
):
    """As train_adamw, of any loss (weight, bias, rows)."""
    generator = torch.Generator().manual_seed(seed)
    first = (torch.randn(n_features + 1, n_classes, generator=generator) * INITIAL_SPREAD).to(dtype)
    weight = first[:-1].clone().requires_grad_()
    bias = torch.zeros(n_classes, dtype=dtype, requires_grad=True)
    optimiser = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}],
        lr=learning_rate,
    )
    n_steps = n_epochs * math.ceil(n_samples / batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: 0.5 * (1.0 + math.cos(math.pi * t / n_steps))
    )
    for _ in range(n_epochs):
        for chosen in torch.randperm(n_samples, generator=generator).split(batch_size):
            optimiser.zero_grad()
            loss_of(weight, bias, chosen).backward()
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


def ridge(x, targets, *, weight_decay, weights=None):
    """Normal equations with a column of ones whose row is not penalised, (n_features + 1, n_classes)."""
    share = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    share = torch.diag(share / share.sum())
    ones = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    penalty = weight_decay * torch.eye(ones.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0.0
    return torch.linalg.solve(ones.T @ share @ ones + penalty, ones.T @ share @ targets.double())


def neighbour_votes(x, bank, labels, *, n_classes, n_neighbours, metric, weighting):
    """Return shares of votes, sample by sample."""
    found = []
    for row in x.tolist():
        distances = []
        for other in bank.tolist():
            dot = math.fsum(a * b for a, b in zip(row, other, strict=True))
            lengths = math.sqrt(math.fsum(a * a for a in row) * math.fsum(b * b for b in other))
            if metric == "cosine":
                distances.append(1.0 - (dot / lengths if lengths else 0.0))
            else:
                distances.append(math.dist(row, other))
        nearest = sorted(range(len(bank)), key=lambda i: distances[i])[:n_neighbours]
        if weighting == "uniform":
            votes = dict.fromkeys(nearest, 1.0)
        elif weighting == "distance" and any(distances[i] == 0.0 for i in nearest):
            votes = {i: float(distances[i] == 0.0) for i in nearest}
        elif weighting == "distance":
            votes = {i: 1.0 / distances[i] for i in nearest}
        else:
            votes = {i: math.exp((1.0 - distances[i]) / weighting) for i in nearest}
        total = math.fsum(votes.values())
        shares = [0.0] * n_classes
        for i, vote in votes.items():
            shares[labels[i]] += vote / total
        found.append(shares)
    return found


def train_mlp(x, labels, *, n_classes, n_hidden, learning_rate, weight_decay, seed, n_epochs, batch_size):
    """Return logits of a network of torch's own layers and AdamW, as a function of features."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for n_in, n_out in ((x.shape[1], n_hidden), (n_hidden, n_classes)):
        first = (2.0 * torch.rand(n_in + 1, n_out, generator=generator) - 1.0) / math.sqrt(n_in)
        layer = torch.nn.Linear(n_in, n_out, dtype=x.dtype)
        with torch.no_grad():
            layer.weight.copy_(first[:-1].T)
            layer.bias.copy_(first[-1])
        layers.append(layer)
    net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    groups = [
        {"params": [layer.weight for layer in layers], "weight_decay": weight_decay},
        {"params": [layer.bias for layer in layers], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate)
    n_steps = n_epochs * math.ceil(len(x) / batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: 0.5 * (1.0 + math.cos(math.pi * t / n_steps))
    )
    for _ in range(n_epochs):
        for chosen in torch.randperm(len(x), generator=generator).split(batch_size):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[chosen]), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return net


def calibration_error(probabilities, labels, n_bins):
    bins = [[] for _ in range(n_bins)]
    for row, label in zip(probabilities, labels, strict=True):
        confidence = max(row)
        place = next(b for b in range(n_bins) if confidence <= (b + 1) / n_bins or b == n_bins - 1)
        bins[place].append((row.index(confidence) == label, confidence))
    total = 0.0
    for members in bins:
        if members:
            accuracy = sum(hit for hit, _ in members) / len(members)
            total += len(members) * abs(accuracy - sum(c for _, c in members) / len(members))
    return total / len(labels)


def attentive_logits(queries, output, x):
    """Return (n_samples, n_classes) of tokens (n_samples, n_tokens, d), number by number.

    Of queries (n_heads, d) and output (n_heads * d + 1, n_classes), whose last row is the bias.
    """
    d = x.shape[2]
    rows = []
    for tokens in x:
        picked = []
        for query in queries:
            scores = [sum(token[j] * query[j] for j in range(d)) / math.sqrt(d) for token in tokens]
            total = sum(torch.exp(score) for score in scores)
            shares = [torch.exp(score) / total for score in scores]
            picked += [
                sum(share * token[j] for share, token in zip(shares, tokens, strict=True)) for j in range(d)
            ]
        rows.append(
            torch.stack(
                [
                    sum(value * weight[c] for value, weight in zip(picked, output[:-1], strict=True))
                    + output[-1, c]
                    for c in range(output.shape[1])
                ]
            )
        )
    return torch.stack(rows)


def train_attentive(
    x, labels, *, n_classes, n_heads, learning_rate, weight_decay, seed, n_epochs, batch_size
):
    """Return queries and output, trained with torch's own AdamW on standardised tokens in float64."""
    generator = torch.Generator().manual_seed(seed)
    d = x.shape[2]
    queries = (0.02 * torch.randn(n_heads, d, generator=generator)).double().requires_grad_()
    first = (INITIAL_SPREAD * torch.randn(n_heads * d + 1, n_classes, generator=generator)).double()
    weight = first[:-1].clone().requires_grad_()
    bias = torch.zeros(1, n_classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.AdamW(
        [
            {"params": [queries, weight], "weight_decay": weight_decay},
            {"params": [bias], "weight_decay": 0.0},
        ],
        lr=learning_rate,
    )
    n_steps = n_epochs * math.ceil(len(x) / batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: 0.5 * (1.0 + math.cos(math.pi * t / n_steps))
    )
    for _ in range(n_epochs):
        for chosen in torch.randperm(len(x), generator=generator).split(batch_size):
            optimiser.zero_grad()
            logits = attentive_logits(queries, torch.cat([weight, bias]), x[chosen])
            torch.nn.functional.cross_entropy(logits, labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return queries.detach(), torch.cat([weight, bias]).detach()

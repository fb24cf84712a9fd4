"""Stitches trained one by one, entry by entry, in float64: from the formulas, nothing shared or cached."""

import itertools
import math

import torch


def correlation(xs, ys):
    n = len(xs)
    mean_x, mean_y = math.fsum(xs) / n, math.fsum(ys) / n
    cross = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    square_x, square_y = (math.fsum((v - m) ** 2 for v in vs) for vs, m in ((xs, mean_x), (ys, mean_y)))
    return cross / math.sqrt(square_x * square_y)


def correlations(front, end):
    """Of every end channel with every front channel; samples in rows."""
    columns = [x.T.tolist() for x in (front, end)]
    return [[correlation(f, e) for f in columns[0]] for e in columns[1]]


def semi_match(table, *, absolute=False):
    """Every end channel takes its best front channel."""
    value = abs if absolute else float
    best = [max(range(len(row)), key=lambda j, row=row: value(row[j])) for row in table]
    return [[j == k for j in range(len(table[0]))] for k in best]


def best_assignment(table):
    """The permutation with the largest sum, of all; for as many fronts as ends or more."""
    n_end, n_front = len(table), len(table[0])
    choices = itertools.permutations(range(n_front), n_end)
    best = max(choices, key=lambda c: math.fsum(table[i][j] for i, j in enumerate(c)))
    return [[j == k for j in range(n_front)] for k in best]


def target_row(name, label, front, end, temperature):
    """Probabilities for one stimulus; lists of losses become lists of targets whose losses are averaged."""

    def soften(logits):
        powers = [math.exp(v / temperature) for v in logits]
        return [p / math.fsum(powers) for p in powers]

    return {
        "hard": [[float(c == label) for c in range(len(end))]],
        "soft_1": [soften(front)],
        "soft_2": [soften(end)],
        "soft_12": [soften(front), soften(end)],
        "soft_1_plus_2": [soften([(a + b) / 2 for a, b in zip(front, end, strict=True)])],
    }[name]


def target_row_of_several(name, labels, front, end, temperature):
    """As `target_row`, where a stimulus may have several labels: a probability for each class by itself."""

    def soften(logits):
        return [1 / (1 + math.exp(-v / temperature)) for v in logits]

    return {
        "hard": [[float(has) for has in labels]],
        "soft_1": [soften(front)],
        "soft_2": [soften(end)],
        "soft_12": [soften(front), soften(end)],
        "soft_1_plus_2": [soften([(a + b) / 2 for a, b in zip(front, end, strict=True)])],
    }[name]


def binary_cross_entropy(targets, logits, temperature):
    """Mean over targets and classes of -t log p - (1 - t) log (1 - p), for one stimulus."""
    chances = 1 / (1 + (-logits / temperature).exp())
    losses = [
        -sum(t * chances[c].log() + (1 - t) * (1 - chances[c]).log() for c, t in enumerate(one)) / len(one)
        for one in targets
    ]
    return sum(losses) / len(losses)


def cross_entropy(targets, logits, temperature):
    """Mean over the targets of -sum_c t_c log p_c, for one stimulus; logits may carry gradients."""
    log_norm = (logits / temperature).exp().sum().log()
    losses = [-sum(t * (logits[c] / temperature - log_norm) for c, t in enumerate(one)) for one in targets]
    return sum(losses) / len(losses)


def cka(stitched, original):
    """Biased linear CKA by centring matrices; stimuli in rows."""
    n = len(stitched)
    centring = torch.eye(n, dtype=torch.float64) - 1.0 / n
    grams = [centring @ (x @ x.T) @ centring for x in (stitched, original)]
    hsic = [[(a * b).sum() for b in grams] for a in grams]
    return hsic[0][1] / (hsic[0][0] * hsic[1][1]).sqrt()


def mapped(weight, bias, front):
    """Each end channel as a sum over front channels: the double loop."""
    channels = []
    for i in range(len(bias)):
        total = bias[i].expand(front.shape[:2])
        for j in range(weight.shape[1]):
            total = total + weight[i, j] * front[:, :, j]
        channels.append(total)
    return torch.stack(channels, dim=2)


def train(case, recipe, parameters, *, mask=None, n_epochs, batch_size):
    """Return weight, bias and losses of one stitch.

    The case has ``front`` and ``end`` (n_stimuli, n_positions, channels), ``front_logits``, ``end_logits``,
    ``labels``, and ``tail``, from (n, n_positions, n_end) to logits and a list of later layers; parameters
    are ``weight`` and ``bias``, or ``left``, ``right`` and ``bias``.
    """
    parameters = {name: x.clone().requires_grad_(True) for name, x in parameters.items()}
    descent = {
        "adam": lambda p: torch.optim.Adam(p, lr=recipe.learning_rate, weight_decay=recipe.weight_decay),
        "sgd": lambda p: torch.optim.SGD(
            p, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, momentum=0.9, nesterov=True
        ),
    }[recipe.optimiser](list(parameters.values()))
    n_stimuli = len(case["front"])
    size = min(batch_size, n_stimuli)
    per_epoch = n_stimuli // size
    losses, step = [], 0
    for epoch in range(n_epochs):
        order = torch.randperm(
            n_stimuli, generator=torch.Generator().manual_seed(recipe.seed * 2**24 + epoch)
        )
        for place in range(per_epoch):
            rows = order[place * size : (place + 1) * size]
            for group in descent.param_groups:
                thirds = sum(step / (n_epochs * per_epoch) >= third for third in (1 / 3, 2 / 3))
                group["lr"] = recipe.learning_rate / 10**thirds
            loss = _loss(case, recipe, parameters, mask, rows)
            descent.zero_grad()
            loss.backward()
            descent.step()
            losses.append(loss.item())
            step += 1
    weight = _weight(parameters, mask)
    return weight.detach(), parameters["bias"].detach(), losses


def _weight(parameters, mask):
    if "left" in parameters:
        return parameters["left"] @ parameters["right"]
    if mask is None:
        return parameters["weight"]
    return torch.where(torch.tensor(mask), parameters["weight"], 0.0)


def _loss(case, recipe, parameters, mask, rows):
    weight = _weight(parameters, mask)
    stitched = mapped(weight, parameters["bias"], case["front"][rows])
    original = case["end"][rows]
    logits, later = case["tail"](stitched)
    if recipe.loss == "task":
        per_stimulus = []
        for n, row in enumerate(rows.tolist()):
            numbers = (case[name][row].tolist() for name in ("labels", "front_logits", "end_logits"))
            has_several = case["labels"].ndim == 2
            aim, measure = (
                (target_row_of_several, binary_cross_entropy) if has_several else (target_row, cross_entropy)
            )
            targets = aim(recipe.target, *numbers, recipe.temperature)
            per_stimulus.append(measure(targets, logits[n], recipe.temperature))
        loss = sum(per_stimulus) / len(rows)
    elif recipe.loss == "mse":
        loss = ((stitched - original) ** 2).mean()
    else:
        loss = 1 - cka(stitched.flatten(1), original.flatten(1))
    loss = loss + recipe.l1 * sum(abs(w) for w in weight.flatten()) / weight.numel()
    if recipe.cka_penalty:
        loss = loss + recipe.cka_penalty * cka(stitched.flatten(1), original.flatten(1))
    if recipe.later_layers:
        _, theirs = case["tail"](original)
        distances = [((a - b) ** 2).sum() / (b**2).sum() for a, b in zip(later, theirs, strict=True)]
        loss = loss + recipe.later_layers * sum(distances) / len(distances)
    return loss

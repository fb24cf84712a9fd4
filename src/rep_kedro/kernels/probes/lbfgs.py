"""Linear probes by convex optimisation: multinomial logistic regression with an L2 penalty, at its optimum.

All layers and all weight decays descend together by L-BFGS in float64, each with its own step length.
Features are first turned onto their principal axes, where the Hessian is nearly diagonal: that changes
neither loss nor optimum, and saves a fifth to a third of the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.probes.convex_losses import SigmoidProblem, SoftmaxProblem
from rep_kedro.kernels.probes.probe import require_labels

HISTORY = 12  # pairs of steps and gradient changes that L-BFGS remembers
SUFFICIENT_DECREASE = 1e-4  # Armijo's constant
MAX_HALVINGS = 30
ROUNDING = {torch.float64: 1e-15, torch.float32: 1e-6}
"""Relative rounding of a loss: without it, the last steps before the optimum look like ascents."""
PATIENCE = 0.25  # share of settings that may wait at their optimum: to drop some copies the history of all
FLOAT32_FLOOR = 2e-5  # norm of a gradient below which float32 gives little but rounding


@dataclass(frozen=True)
class ConvexProbes:
    """Optima of all settings.

    Attributes:
        weights: For each layer a tensor (n_decays, n_features + 1, n_classes), float64; last row: the bias.
        loss: Penalised mean loss in nats, (n_layers, n_decays).
        gradient_norm: Euclidean norm of its gradient, (n_layers, n_decays).
        converged: Whether that norm is below the tolerance, (n_layers, n_decays).
        n_iterations: Steps taken by the slowest setting.
    """

    weights: tuple[Tensor, ...]
    loss: Tensor
    gradient_norm: Tensor
    converged: Tensor
    n_iterations: int


def fit_probes_lbfgs(
    layers: Sequence[Tensor],
    labels: Tensor,
    *,
    n_classes: int,
    weight_decays: Sequence[float],
    tolerance: float = 1e-6,
    max_iterations: int = 500,
    descent: str = "float64",
    sample_weights: Tensor | None = None,
) -> ConvexProbes:
    """Fit a multinomial logistic regression for every layer and every weight decay.

    Minimises mean cross-entropy + weight_decay / 2 * |W|^2; the bias is not penalised. With n samples this is
    scikit-learn's LogisticRegression with C = 1 / (n * weight_decay). The optimum is unique: there is no
    seed.

    Args:
        layers: One matrix for each layer, (n_samples, n_features_i), the same samples in the same order;
            standardised features make one weight decay mean the same for all layers.
        labels: Class indices from 0 to n_classes - 1, shape (n_samples,); or which classes each sample has,
            (n_samples, n_classes), 0 or 1: then the cross-entropy is the sum over classes of sigmoids' ones.
        n_classes: Number of classes, at least 2; a class without samples is allowed.
        weight_decays: Penalties, all above zero (without one, separable classes have no finite optimum).
        tolerance: Settings stop when the norm of their gradient is below this.
        max_iterations: Steps after which settings stop unconverged.
        descent: ``float64``; or ``float32``: descend in float32 as far as its rounding allows, then polish in
            float64, which has the last word on the gradient. Faster; the same optimum within the tolerance.
        sample_weights: Weight of each sample in the mean, (n_samples,), above zero; None weighs all equally.

    Returns:
        Optima, losses and whether they have converged.

    Raises:
        ValueError: If labels, layers or weight decays do not fit this description.

    Cost:
        Each step n_samples * n_features * n_classes * n_decays * n_layers * 4 multiply-adds, in float64.

    Source:
        Nocedal & Wright 2006, Numerical Optimization, algorithms 7.4 (two loops) and 3.1 (backtracking);
        Böhning 1992, doi:10.1007/BF00048682 (the Hessian's bound, here the shape of the first guess).
    """
    _require_problem(layers, labels, n_classes=n_classes, weight_decays=weight_decays)
    axes = [_turn_to_principal_axes(x) for x in layers]
    width = max(turned.shape[1] for turned, _, _ in axes)
    padded = torch.stack([_append_ones(turned, width) for turned, _, _ in axes])
    decay = torch.tensor(weight_decays, dtype=torch.float64, device=padded.device)
    kind = SoftmaxProblem if labels.ndim == 1 else SigmoidProblem
    begin, n_before = None, 0
    if descent == "float32":
        rough = kind(padded.float(), labels, n_classes, decay.float(), sample_weights)
        near = max(0.8 * tolerance, FLOAT32_FLOOR)
        found, n_before = _descend(rough, tolerance=near, max_iterations=max_iterations)
        begin = found.point.double()
    problem = kind(padded, labels, n_classes, decay, sample_weights)
    state, n_polishing = _descend(problem, tolerance=tolerance, max_iterations=max_iterations, begin=begin)
    n_iterations = n_before + n_polishing
    norm = state.gradient_norm
    return ConvexProbes(
        weights=tuple(
            _turn_back(state.point[i], rotation=rotation, mean=mean)
            for i, (_, rotation, mean) in enumerate(axes)
        ),
        loss=state.loss,
        gradient_norm=norm,
        converged=norm <= tolerance,
        n_iterations=n_iterations,
    )


def _require_problem(
    layers: Sequence[Tensor], labels: Tensor, *, n_classes: int, weight_decays: Sequence[float]
) -> None:
    if not layers or not weight_decays:
        raise ValueError(
            f"probes need at least one layer and one weight decay, got {len(layers)} and {len(weight_decays)}"
        )
    if any(decay <= 0.0 for decay in weight_decays):
        raise ValueError(f"weight decays of a convex probe must be above 0, got {list(weight_decays)}")
    for i, x in enumerate(layers):
        if x.ndim != 2 or len(x) != len(labels):
            raise ValueError(
                f"layer {i} must have shape ({len(labels)}, n_features) like the labels, got {tuple(x.shape)}"
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"features of layer {i} must be finite, got NaN or infinity")
    require_labels(labels, n_classes=n_classes, n_samples=len(layers[0]))


def _turn_to_principal_axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return centred features on their principal axes, the axes (n_features, n_axes), and the mean."""
    mean = x.to(torch.float64).mean(dim=0)
    centred = x.to(torch.float64) - mean
    if x.shape[1] <= x.shape[0]:
        rotation = torch.linalg.eigh(centred.T @ centred).eigenvectors
    else:  # the optimum is in the span of the samples, so the other directions can go
        rotation = torch.linalg.svd(centred, full_matrices=False).Vh.T
    return centred @ rotation, rotation, mean


def _append_ones(turned: Tensor, width: int) -> Tensor:
    """Pad with empty features (their weights stay zero), then append the constant feature of the bias."""
    padded = turned.new_zeros(len(turned), width + 1)
    padded[:, : turned.shape[1]] = turned
    padded[:, -1] = 1.0
    return padded


def _turn_back(point: Tensor, *, rotation: Tensor, mean: Tensor) -> Tensor:
    """Return weights for the features as they came, (n_decays, n_features + 1, n_classes)."""
    weight = torch.einsum("fa,ack->kfc", rotation, point[: rotation.shape[1]])
    bias = point[-1].T - torch.einsum("f,kfc->kc", mean, weight)
    return torch.cat([weight, bias.unsqueeze(1)], dim=1)


@dataclass
class _State:
    """State of the iteration for all settings of a problem."""

    point: Tensor
    logits: Tensor
    loss: Tensor
    gradient: Tensor
    scale: Tensor

    @property
    def gradient_norm(self) -> Tensor:
        return self.gradient.square().sum(dim=(1, 2)).sqrt()

    def keep_decays(self, keep: Tensor) -> "_State":
        return _State(*(value[..., keep] for value in vars(self).values()))


def _descend(
    problem: SoftmaxProblem, *, tolerance: float, max_iterations: int, begin: Tensor | None = None
) -> tuple[_State, int]:
    """Run L-BFGS on all settings until the last one has converged or given up."""
    state = _start(problem, begin)
    done = _State(*(torch.empty_like(value) for value in vars(state).values()))
    rest = torch.arange(problem.shape[3])
    patience = PATIENCE if problem.features.dtype == torch.float32 else 0.0
    history: list[_Pair] = []
    for n_iterations in range(max_iterations + 1):
        active = state.gradient_norm > tolerance
        going = active.any(dim=0) if n_iterations < max_iterations else torch.zeros_like(active[0])
        if int((~going).sum()) > patience * len(rest) or not bool(going.any()):
            for kept, value in zip(vars(done).values(), vars(state).values(), strict=True):
                kept[..., rest[~going]] = value[..., ~going]
            if not bool(going.any()):
                break
            problem.keep_decays(going)
            state, rest, active = state.keep_decays(going), rest[going], active[:, going]
            history = [_Pair(*(part[..., going] for part in pair)) for pair in history]
        state, pair = _advance(problem, state, history, active=active)
        history = [*history[-HISTORY + 1 :], pair]
    return done, n_iterations


def _start(problem: SoftmaxProblem, begin: Tensor | None) -> _State:
    """Return the state of zero weights, or of other ones."""
    point = problem.features.new_zeros(problem.shape) if begin is None else begin
    logits = problem.logits(point)
    loss, probabilities = problem.cross_entropy(logits)
    if begin is not None:
        loss = loss + 0.5 * (problem.penalty * point.square()).sum(dim=(1, 2))
    scale = problem.scale(probabilities)
    return _State(point, logits, loss, problem.gradient(point, probabilities), scale)


class _Pair(NamedTuple):
    """A step, the change of the gradient over it, and the inverse of their product (0: nothing to learn)."""

    moved: Tensor
    change: Tensor
    inverse: Tensor


def _advance(
    problem: SoftmaxProblem, state: _State, history: list[_Pair], *, active: Tensor
) -> tuple[_State, _Pair]:
    """Take one step with every active setting: halve it until the loss has gone down enough."""
    direction = -_multiply_inverse_hessian(state.gradient, history, state.scale)
    direction_logits = problem.logits(direction)
    slope = (state.gradient * direction).sum(dim=(1, 2))
    step = active.to(direction.dtype)
    highest = state.loss + ROUNDING[state.loss.dtype] * state.loss.abs()
    for _ in range(MAX_HALVINGS):
        logits = torch.addcmul(state.logits, step[:, None, None, :], direction_logits)
        point = torch.addcmul(state.point, step[:, None, None, :], direction)
        loss, probabilities = problem.cross_entropy(logits)
        loss += 0.5 * (problem.penalty * point.square()).sum(dim=(1, 2))
        failed = loss > highest + SUFFICIENT_DECREASE * step * slope
        if not bool(failed.any()):
            break
        step = torch.where(failed, 0.5 * step, step)
    scale = problem.scale(probabilities)
    gradient = problem.gradient(point, probabilities)
    moved, change = point - state.point, gradient - state.gradient
    product = _dot(moved, change)
    inverse = torch.where(product > 0.0, 1.0 / product, torch.zeros_like(product))
    return _State(point, logits, loss, gradient, scale), _Pair(moved, change, inverse)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each setting, (layers, 1, 1, decays)."""
    return (a * b).sum(dim=(1, 2), keepdim=True)


def _multiply_inverse_hessian(gradient: Tensor, history: list[_Pair], scale: Tensor) -> Tensor:
    """Return the L-BFGS guess of the inverse Hessian times the gradient (two loops)."""
    product = gradient.clone()
    weights = []
    for pair in reversed(history):
        weight = pair.inverse * _dot(pair.moved, product)
        weights.append(weight)
        product -= weight * pair.change
    product *= scale
    for pair, weight in zip(history, reversed(weights), strict=True):
        product += (weight - pair.inverse * _dot(pair.change, product)) * pair.moved
    return product

"""The solvers of probes: each gives, for every layer and setting, a read-out as soon as it is fitted.

A new solver is a class of settings in ``settings.py``, a function here, and an entry of ``SOLVERS``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.probes.adamw import AdamWSettings, fit_probes_adamw, group_equal_runs
from rep_kedro.kernels.probes.attentive import (
    AttentiveWeights,
    fit_probes_attentive,
    fit_token_standardisation,
)
from rep_kedro.kernels.probes.lbfgs import fit_probes_lbfgs
from rep_kedro.kernels.probes.mlp import MlpWeights, fit_probes_mlp
from rep_kedro.kernels.probes.probe import Standardisation, fit_standardisation
from rep_kedro.kernels.probes.prototype import fit_prototypes
from rep_kedro.kernels.probes.readouts import (
    AttentiveReadout,
    Bank,
    LinearReadout,
    MlpReadout,
    NeighbourReadout,
    Readout,
)
from rep_kedro.kernels.probes.ridge import fit_probes_ridge
from rep_kedro.kernels.probes.settings import (
    AdamWFit,
    AttentiveFit,
    Fit,
    KnnFit,
    LbfgsFit,
    MlpFit,
    PrototypeFit,
    RidgeFit,
    Setting,
)


class Solved(NamedTuple):
    """One fitted probe.

    Attributes:
        layer: Name of the layer.
        place: Of its setting among those asked for.
        readout: From features to logits.
        converged: Whether the fit reached its optimum; None for solvers without one.
    """

    layer: str
    place: int
    readout: Readout
    converged: bool | None


@dataclass(frozen=True)
class Problem:
    """What probes are fitted to.

    Attributes:
        layers: Training features by layer, as they are, (n_train, n_features); for attentive probes (n_train,
            n_tokens, n_features).
        labels: Class indices, (n_train,), or which classes each sample has, (n_train, n_classes), 0 or 1.
        n_classes: Number of classes.
        seed: Of first weights and batches.
        class_weights: Weight of the samples of each class, (n_classes,), mean 1 over samples; None: all
            equally; of class indices alone.
    """

    layers: Mapping[str, Tensor]
    labels: Tensor
    n_classes: int
    seed: int = 0
    class_weights: Tensor | None = None

    def standardise(self) -> dict[str, tuple[Tensor, Standardisation]]:
        """Return standardised features, float64, and what standardises, by layer."""
        standards = {name: fit_standardisation(x) for name, x in self.layers.items()}
        return {name: (standards[name].apply(x), standards[name]) for name, x in self.layers.items()}

    @property
    def targets(self) -> Tensor:
        """Which classes each sample has, (n_train, n_classes), 0 or 1."""
        if self.labels.ndim != 1:
            return self.labels
        return torch.nn.functional.one_hot(self.labels, self.n_classes)

    @property
    def sample_weights(self) -> Tensor | None:
        """Weight of each sample, (n_train,)."""
        return None if self.class_weights is None else self.class_weights[self.labels]


def solve(problem: Problem, settings: Sequence[Setting], fit: Fit) -> Iterator[Solved]:
    """Fit every layer with every setting on standardised features.

    Args:
        problem: Features, labels and seed.
        settings: Some of those that the fit lists.
        fit: The solver's class of settings.

    Yields:
        Each layer and setting once, in the order in which the solver has them.

    Raises:
        ValueError: If features or labels cannot be fitted.
    """
    yield from SOLVERS[type(fit)](problem, settings, fit)


def _solve_lbfgs(problem: Problem, settings: Sequence[Setting], fit: LbfgsFit) -> Iterator[Solved]:
    ready = problem.standardise()
    fitted = fit_probes_lbfgs(
        [x for x, _ in ready.values()],
        problem.labels,
        n_classes=problem.n_classes,
        weight_decays=[setting.weight_decay or 0.0 for setting in settings],
        tolerance=fit.tolerance,
        max_iterations=fit.max_iterations,
        descent=fit.descent,
        sample_weights=problem.sample_weights,
    )
    reached = fitted.converged.tolist()
    for i, (name, (_, standard)) in enumerate(ready.items()):
        for place, weight in enumerate(fitted.weights[i]):
            readout = LinearReadout.of_standardised(weight, standard)
            yield Solved(name, place, readout, reached[i][place])


def _solve_adamw(problem: Problem, settings: Sequence[Setting], fit: AdamWFit) -> Iterator[Solved]:
    """Train layers of equal width together, as many settings at a time as the memory allows."""
    ready = problem.standardise()
    grid = _to_adamw(settings, fit, problem.seed)
    runs = group_equal_runs(grid, n_samples=len(problem.labels))
    by_width: dict[int, list[str]] = {}
    for name, (x, _) in ready.items():
        by_width.setdefault(x.shape[1], []).append(name)
    for width, names in by_width.items():
        n_runs = _count_together(fit, problem, (width,))
        n_layers = max(1, n_runs // len(runs))
        for together in _split(names, n_layers):
            stacked = torch.stack([ready[name][0].float() for name in together])
            for block in _split(runs, max(1, n_runs // len(together))):
                trained = fit_probes_adamw(
                    stacked,
                    problem.labels,
                    n_classes=problem.n_classes,
                    settings=_to_adamw([settings[run[0]] for run in block], fit, problem.seed),
                    class_weights=problem.class_weights,
                )
                for i, name in enumerate(together):
                    for run, weight in zip(block, trained[i, 0], strict=True):
                        readout = LinearReadout.of_standardised(weight.double(), ready[name][1])
                        yield from (Solved(name, place, readout, None) for place in run)


def _solve_ridge(problem: Problem, settings: Sequence[Setting], fit: RidgeFit) -> Iterator[Solved]:
    del fit
    for name, (x, standard) in problem.standardise().items():
        weights = fit_probes_ridge(
            x,
            problem.targets,
            weight_decays=[setting.weight_decay or 0.0 for setting in settings],
            sample_weights=problem.sample_weights,
        )
        for place, weight in enumerate(weights):
            yield Solved(name, place, LinearReadout.of_standardised(weight, standard), None)


def _solve_knn(problem: Problem, settings: Sequence[Setting], fit: KnnFit) -> Iterator[Solved]:
    most = max(setting.n_neighbours or 1 for setting in settings)
    for name, (x, standard) in problem.standardise().items():
        bank = Bank(x, problem.labels, standard, most=most, memory_mib=fit.memory_mib)
        for place, setting in enumerate(settings):
            readout = NeighbourReadout(bank, problem.n_classes, setting, problem.class_weights)
            yield Solved(name, place, readout, None)


def _solve_prototype(problem: Problem, settings: Sequence[Setting], fit: PrototypeFit) -> Iterator[Solved]:
    del fit
    for name, (x, standard) in problem.standardise().items():
        readout = LinearReadout.of_standardised(fit_prototypes(x, problem.targets), standard)
        yield from (Solved(name, place, readout, None) for place in range(len(settings)))


def _solve_mlp(problem: Problem, settings: Sequence[Setting], fit: MlpFit) -> Iterator[Solved]:
    for name, (x, standard) in problem.standardise().items():
        for places in _split(range(len(settings)), _count_together(fit, problem, x.shape[1:])):
            trained = fit_probes_mlp(
                x.float(),
                problem.labels,
                n_classes=problem.n_classes,
                n_hidden=fit.n_hidden,
                settings=_to_adamw([settings[place] for place in places], fit, problem.seed),
                class_weights=problem.class_weights,
            )
            for i, place in enumerate(places):
                weights = MlpWeights(*(part[i : i + 1] for part in trained))
                yield Solved(name, place, MlpReadout(weights, standard), None)


def _solve_attentive(problem: Problem, settings: Sequence[Setting], fit: AttentiveFit) -> Iterator[Solved]:
    for name, x in problem.layers.items():
        standard = fit_token_standardisation(x)
        for places in _split(range(len(settings)), _count_together(fit, problem, x.shape[1:])):
            trained = fit_probes_attentive(
                x,
                problem.labels,
                n_classes=problem.n_classes,
                n_heads=fit.n_heads,
                standard=standard,
                settings=_to_adamw([settings[place] for place in places], fit, problem.seed),
                class_weights=problem.class_weights,
            )
            for i, place in enumerate(places):
                weights = AttentiveWeights(*(part[i : i + 1] for part in trained))
                yield Solved(name, place, AttentiveReadout(weights, standard), None)


def _count_together(fit: AdamWFit | MlpFit | AttentiveFit, problem: Problem, shape: Sequence[int]) -> int:
    """Return how many settings are trained at the same time: as many as the memory allows, at least one."""
    one = fit.count_bytes(shape, problem.n_classes, len(problem.labels))
    return max(1, fit.memory_mib * 2**20 // one)


def _to_adamw(settings: Sequence[Setting], fit: AdamWFit | MlpFit | AttentiveFit, seed: int) -> AdamWSettings:
    return AdamWSettings(
        learning_rates=tuple(setting.learning_rate or 0.0 for setting in settings),
        weight_decays=tuple(setting.weight_decay or 0.0 for setting in settings),
        seeds=(seed,),
        n_epochs=fit.n_epochs,
        batch_size=fit.batch_size,
        penalty=fit.penalty if isinstance(fit, AdamWFit) else "weight_decay",
        precision=fit.precision if isinstance(fit, AdamWFit) else "float32",
    )


def _split(items: Sequence[Any], n_together: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + n_together] for start in range(0, len(items), n_together))


SOLVERS: dict[type, Callable[[Problem, Sequence[Setting], Any], Iterator[Solved]]] = {
    LbfgsFit: _solve_lbfgs,
    AdamWFit: _solve_adamw,
    RidgeFit: _solve_ridge,
    KnnFit: _solve_knn,
    PrototypeFit: _solve_prototype,
    MlpFit: _solve_mlp,
    AttentiveFit: _solve_attentive,
}
"""How each class of settings is solved."""

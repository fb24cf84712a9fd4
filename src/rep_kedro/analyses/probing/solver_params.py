"""Parameters of the solvers of probes: one model for each, named by its ``solver``."""

from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, model_validator

from rep_kedro.parameter_model import Parameters

Positive = Annotated[float, Field(gt=0)]
Decays = Annotated[tuple[Positive, ...], Field(min_length=1)]
Rates = Decays
MayBeZero = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
AtLeastOne = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
MOST_HEADS, MOST_HIDDEN = 1024, 2**16  # weights of one probe take memory that no block of settings spares

PAPER: dict[str, Any] = {
    "learning_rates": (0.1, 0.01, 0.001, 0.0001),
    "weight_decays": tuple(10.0 ** (-6 + 7 * i / 63) for i in range(64)),
    "n_epochs": 20,
    "batch_size": 1024,
    "search": "coarse_to_fine",
    "ties": "first_rate",
}
"""Of Ciernik et al. 2025, arXiv:2411.05561; the original runs it with seeds 0, 1 and 2."""
PAPER_SEEDS = (0, 1, 2)


class OneSolver(Parameters):
    """What the solvers share: fields with several values are what settings are made of."""

    @property
    def n_settings(self) -> int:
        """How many settings there are to choose from, at most."""
        return prod(len(value) for value in dict(self).values() if isinstance(value, tuple))


class LbfgsParams(OneSolver):
    """Convex probes at their optimum.

    Attributes:
        solver: ``lbfgs``.
        weight_decays: Penalties w in mean cross-entropy + w / 2 * |W|^2, to choose from.
        tolerance: Norm of the gradient at which a probe counts as converged.
        max_iterations: Steps after which it is taken as it is, with a warning.
        descent: ``float64``; or ``float32``, which descends in float32 and polishes in float64: faster for
            many weight decays, the same optimum within the tolerance.
    """

    solver: Literal["lbfgs"] = "lbfgs"
    weight_decays: Decays = (1e-3, 1e-2, 1e-1)
    tolerance: Positive = 1e-4
    max_iterations: AtLeastOne = 1000
    descent: Literal["float64", "float32"] = "float64"


class AdamWParams(OneSolver):
    """Stochastic probes; every learning rate is tried with every weight decay.

    Attributes:
        solver: ``adamw``.
        preset: ``paper``: rates 0.1 to 0.0001, 64 decays from 1e-6 to 10, 20 epochs, batches of 1024,
            searched from coarse to fine with the original's ties, seeds 0, 1, 2. Given values replace these.
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: To choose from.
        n_epochs: Passes over the training stimuli.
        batch_size: Stimuli of a step.
        penalty: ``weight_decay`` (decoupled), or ``l1``, ``l2``: w times the sum of |W| or W^2 in the loss.
        search: ``grid``: all combinations; ``coarse_to_fine``: for each rate every ninth decay, then the
            4th, 2nd and 1st neighbours of the best.
        ties: Between equal accuracies: ``larger_decay``; or ``first_rate``, within a rate the larger decay,
            among rates the first one.
        precision: ``float32``; or ``bfloat16`` for the matrix products, faster where the processor has them.
        memory_mib: Most memory of the weights that are trained at the same time.
    """

    solver: Literal["adamw"]
    preset: Literal["paper"] | None = None
    learning_rates: Rates = (1e-3, 1e-2, 1e-1)
    weight_decays: MayBeZero = (0.0, 0.01, 1.0)
    n_epochs: Epochs = 20
    batch_size: AtLeastOne = 128
    penalty: Literal["weight_decay", "l1", "l2"] = "weight_decay"
    search: Literal["grid", "coarse_to_fine"] = "grid"
    ties: Literal["larger_decay", "first_rate"] = "larger_decay"
    precision: Literal["float32", "bfloat16"] = "float32"
    memory_mib: AtLeastOne = 2048

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        return PAPER | given if isinstance(given, dict) and given.get("preset") == "paper" else given


class RidgeParams(OneSolver):
    """Least squares to the classes, all weight decays by one decomposition.

    Attributes:
        solver: ``ridge``.
        weight_decays: Penalties w in mean squared error + w * |W|^2, to choose from.
    """

    solver: Literal["ridge"]
    weight_decays: Decays = tuple(10.0 ** (-6 + i) for i in range(8))


class KnnParams(OneSolver):
    """The nearest training stimuli vote.

    Attributes:
        solver: ``knn``.
        n_neighbours: How many, to choose from.
        metrics: ``cosine`` or ``euclidean``, of standardised features; to choose from.
        weightings: ``uniform``, ``distance`` (inverse distances), or temperatures t for votes exp(cosine /
            t); to choose from.
        memory_mib: Most memory of distances at the same time.
    """

    solver: Literal["knn"]
    n_neighbours: Annotated[tuple[AtLeastOne, ...], Field(min_length=1)] = (1, 5, 20)
    metrics: Annotated[tuple[Literal["cosine", "euclidean"], ...], Field(min_length=1)] = ("cosine",)
    weightings: Annotated[tuple[Literal["uniform", "distance"] | Positive, ...], Field(min_length=1)] = (
        "uniform",
    )
    memory_mib: AtLeastOne = 256

    @model_validator(mode="after")
    def _temperatures_need_the_cosine(self) -> Self:
        if "cosine" not in self.metrics and any(not isinstance(w, str) for w in self.weightings):
            raise ValueError("a temperature weights votes by the cosine: add cosine to metrics")
        return self


class PrototypeParams(OneSolver):
    """The nearest class mean, of standardised features.

    Attributes:
        solver: ``prototype``.
    """

    solver: Literal["prototype"]


class MlpParams(OneSolver):
    """One hidden layer of rectified units, trained by AdamW.

    Attributes:
        solver: ``mlp``.
        n_hidden: Hidden units.
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: Decoupled decays, to choose from.
        n_epochs: Passes over the training stimuli.
        batch_size: Stimuli of a step.
        memory_mib: Most memory of the weights that are trained at the same time.
    """

    solver: Literal["mlp"]
    n_hidden: int = Field(default=256, ge=1, le=MOST_HIDDEN)
    learning_rates: Rates = (1e-3, 1e-2)
    weight_decays: MayBeZero = (0.0, 0.1)
    n_epochs: Epochs = 20
    batch_size: AtLeastOne = 128
    memory_mib: AtLeastOne = 2048


class AttentiveParams(OneSolver):
    """Learned queries weigh the tokens or positions of a layer, a linear classifier reads the averages.

    Attributes:
        solver: ``attentive``.
        n_heads: Queries.
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: Decoupled decays, to choose from.
        n_epochs: Passes over the training stimuli.
        batch_size: Stimuli of a step.
        memory_mib: Most memory of weights and attention that are trained at the same time.
    """

    solver: Literal["attentive"] = "attentive"
    n_heads: int = Field(default=4, ge=1, le=MOST_HEADS)
    learning_rates: Rates = (1e-3, 1e-2)
    weight_decays: MayBeZero = (0.0, 0.1)
    n_epochs: Epochs = 20
    batch_size: AtLeastOne = 128
    memory_mib: AtLeastOne = 2048


SolverParams = Annotated[
    LbfgsParams | AdamWParams | RidgeParams | KnnParams | PrototypeParams | MlpParams,
    Discriminator("solver"),
]

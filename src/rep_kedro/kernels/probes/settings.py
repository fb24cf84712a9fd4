"""What a probe can be fitted by: one class for each solver, and the settings to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

LIMIT_MIB = 2048  # of weights and their memory that are trained at the same time
FLOAT = 4  # bytes of a float32
TENSORS_OF_WEIGHTS = 5  # weights, two moments, update and gradient
TENSORS_OF_OUTPUTS = 3


class MemoryLimitError(ValueError):
    """A single setting needs more memory than all together may take."""


@dataclass(frozen=True)
class Setting:
    """One way to fit a probe; what the solver does not have is None.

    Attributes:
        weight_decay: Penalty of the weights.
        learning_rate: Highest step length.
        n_neighbours: Training samples that vote.
        metric: ``cosine`` or ``euclidean``, how near they are.
        weighting: ``uniform``, ``distance``, or a temperature t for votes exp(cosine / t).
    """

    weight_decay: float | None = None
    learning_rate: float | None = None
    n_neighbours: int | None = None
    metric: str | None = None
    weighting: str | float | None = None

    @property
    def smoothness(self) -> float:
        """What decides between equal accuracies: the larger decay, or the more neighbours."""
        return self.weight_decay if self.weight_decay is not None else float(self.n_neighbours or 0)


@dataclass(frozen=True)
class LbfgsFit:
    """Convex probes at their optimum.

    Attributes:
        weight_decays: Penalties w in mean cross-entropy + w / 2 * |W|^2, to choose from.
        tolerance: Norm of the gradient at which a probe counts as converged.
        max_iterations: Steps after which it is taken as it is.
        descent: ``float64``, or ``float32``: descend in float32, then polish the optimum in float64.
    """

    weight_decays: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    tolerance: float = 1e-4
    max_iterations: int = 1000
    descent: str = "float64"

    def list_settings(self) -> list[Setting]:
        """Return what is chosen from."""
        return [Setting(decay) for decay in self.weight_decays]


@dataclass(frozen=True)
class AdamWFit:
    """Stochastic probes; every learning rate is tried with every weight decay.

    Attributes:
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: To choose from.
        n_epochs: Passes over the training samples.
        batch_size: Samples of a step.
        penalty: ``weight_decay`` (decoupled), or ``l1``, ``l2``: w times the sum of |W| or W^2 in the loss.
        search: ``grid``: all combinations; ``coarse_to_fine``: for each rate every ninth decay, then the 4th,
            2nd and 1st neighbours of the best one.
        ties: ``larger_decay``; or ``first_rate``: the larger decay within a rate, the first rate among them.
        precision: ``float32``, or ``bfloat16`` for the matrix products, where the processor has them.
        memory_mib: Most memory of weights that are trained at the same time.
    """

    learning_rates: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    weight_decays: tuple[float, ...] = (0.0, 0.01, 1.0)
    n_epochs: int = 20
    batch_size: int = 128
    penalty: str = "weight_decay"
    search: str = "grid"
    ties: str = "larger_decay"
    precision: str = "float32"
    memory_mib: int = LIMIT_MIB

    def list_settings(self) -> list[Setting]:
        """Return what is chosen from."""
        return _cross(self.learning_rates, self.weight_decays)

    def count_bytes(self, shape: Sequence[int], n_classes: int, n_samples: int) -> int:
        """Return the bytes of one setting in training, of samples of a shape."""
        return _count_bytes((shape[-1] + 1) * n_classes, min(self.batch_size, n_samples) * n_classes)


@dataclass(frozen=True)
class RidgeFit:
    """Least squares from features to the classes, 1 for a sample's own and 0 for the others.

    Attributes:
        weight_decays: Penalties w in mean squared error + w * |W|^2, to choose from.
    """

    weight_decays: tuple[float, ...] = tuple(10.0 ** (-6 + i) for i in range(8))

    def list_settings(self) -> list[Setting]:
        """Return what is chosen from."""
        return [Setting(decay) for decay in self.weight_decays]


@dataclass(frozen=True)
class KnnFit:
    """The nearest training samples vote.

    Attributes:
        n_neighbours: How many, to choose from.
        metrics: ``cosine``, ``euclidean``.
        weightings: ``uniform``, ``distance`` (inverse distances), or temperatures t: exp(cosine / t).
        memory_mib: Most memory of distances at the same time.
    """

    n_neighbours: tuple[int, ...] = (1, 5, 20)
    metrics: tuple[str, ...] = ("cosine",)
    weightings: tuple[str | float, ...] = ("uniform",)
    memory_mib: int = 256

    def list_settings(self) -> list[Setting]:
        """Return what is chosen from; temperatures are of the cosine alone."""
        return [
            Setting(n_neighbours=k, metric=metric, weighting=weighting)
            for metric in self.metrics
            for weighting in self.weightings
            if isinstance(weighting, str) or metric == "cosine"
            for k in self.n_neighbours
        ]


@dataclass(frozen=True)
class PrototypeFit:
    """The nearest class mean, Euclidean."""

    def list_settings(self) -> list[Setting]:
        """Return the only setting."""
        return [Setting()]


@dataclass(frozen=True)
class MlpFit:
    """One hidden layer of rectified units, trained by AdamW.

    Attributes:
        n_hidden: Hidden units.
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: Decoupled decays, to choose from.
        n_epochs: Passes over the training samples.
        batch_size: Samples of a step.
        memory_mib: Most memory of weights that are trained at the same time.
    """

    n_hidden: int = 256
    learning_rates: tuple[float, ...] = (1e-3, 1e-2)
    weight_decays: tuple[float, ...] = (0.0, 0.1)
    n_epochs: int = 20
    batch_size: int = 128
    memory_mib: int = LIMIT_MIB

    def list_settings(self) -> list[Setting]:
        """Return what is chosen from."""
        return _cross(self.learning_rates, self.weight_decays)

    def count_bytes(self, shape: Sequence[int], n_classes: int, n_samples: int) -> int:
        """Return the bytes of one setting in training, of samples of a shape."""
        n_weights = (shape[-1] + 1) * self.n_hidden + (self.n_hidden + 1) * n_classes
        return _count_bytes(n_weights, min(self.batch_size, n_samples) * (self.n_hidden + n_classes))


@dataclass(frozen=True)
class AttentiveFit:
    """Learned queries weigh the tokens of a sample, a linear classifier reads the averages.

    Attributes:
        n_heads: Queries.
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: Decoupled decays, to choose from.
        n_epochs: Passes over the training samples.
        batch_size: Samples of a step.
        memory_mib: Most memory of weights and attention that are trained at the same time.
    """

    n_heads: int = 4
    learning_rates: tuple[float, ...] = (1e-3, 1e-2)
    weight_decays: tuple[float, ...] = (0.0, 0.1)
    n_epochs: int = 20
    batch_size: int = 128
    memory_mib: int = LIMIT_MIB

    def list_settings(self) -> list[Setting]:
        """Return what is chosen from."""
        return _cross(self.learning_rates, self.weight_decays)

    def count_bytes(self, shape: Sequence[int], n_classes: int, n_samples: int) -> int:
        """Return the bytes of one setting in training, of samples of a shape."""
        n_tokens, width = shape
        n_weights = self.n_heads * width + (self.n_heads * width + 1) * n_classes
        n_outputs = self.n_heads * (n_tokens + width) + n_classes
        return _count_bytes(n_weights, min(self.batch_size, n_samples) * n_outputs)


Fit = LbfgsFit | AdamWFit | RidgeFit | KnnFit | PrototypeFit | MlpFit | AttentiveFit
FITS: dict[str, type[Fit]] = {
    "lbfgs": LbfgsFit,
    "adamw": AdamWFit,
    "ridge": RidgeFit,
    "knn": KnnFit,
    "prototype": PrototypeFit,
    "mlp": MlpFit,
    "attentive": AttentiveFit,
}
"""By the solver's name."""


def require_memory(fit: Fit, layer: str, shape: Sequence[int], *, n_classes: int, n_samples: int) -> None:
    """Refuse a probe of which a single setting does not fit into ``memory_mib``; others are never too large.

    Args:
        fit: The solver's settings.
        layer: Name of the layer, for the message.
        shape: Of one sample: (n_features,), or (n_tokens, n_features) for attentive probes.
        n_classes: Number of classes.
        n_samples: Training samples.

    Raises:
        MemoryLimitError: The message has both sizes.
    """
    if not isinstance(fit, AdamWFit | MlpFit | AttentiveFit):
        return
    needed = -(-fit.count_bytes(shape, n_classes, n_samples) // 2**20)
    if needed > fit.memory_mib:
        sizes = " x ".join(f"{n:,}" for n in shape)
        further = {AdamWFit: "", MlpFit: " or n_hidden", AttentiveFit: " or n_heads"}[type(fit)]
        raise MemoryLimitError(
            f"one probe of layer {layer!r} ({sizes} features, {n_classes:,} classes) takes {needed:,} MiB,"
            f" more than memory_mib {fit.memory_mib:,}; raise memory_mib, or lower batch_size{further}"
        )


def _count_bytes(n_weights: int, n_outputs: int) -> int:
    return FLOAT * (TENSORS_OF_WEIGHTS * n_weights + TENSORS_OF_OUTPUTS * n_outputs)


def _cross(rates: Sequence[float], decays: Sequence[float]) -> list[Setting]:
    return [Setting(decay, rate) for rate, decay in product(rates, decays)]

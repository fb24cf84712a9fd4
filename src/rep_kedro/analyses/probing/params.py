"""Parameters of the probing pipeline, checked before any node runs."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from rep_kedro.features.spec import Combination, Transform
from rep_kedro.parameter_model import PlainNumbers
from rep_kedro.parameter_rules import Count, Seed, require_once, require_percentiles

Positive = Annotated[float, Field(gt=0)]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class _Strict(PlainNumbers, BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LbfgsParams(_Strict):
    """Convex probes at their optimum.

    Attributes:
        solver: ``lbfgs``.
        weight_decays: Penalties w in mean cross-entropy + w / 2 * |W|^2, to choose from.
        tolerance: Norm of the gradient at which a probe counts as converged.
        max_iterations: Steps after which it is taken as it is, with a warning.
    """

    solver: Literal["lbfgs"] = "lbfgs"
    weight_decays: tuple[Positive, ...] = Field(default=(1e-3, 1e-2, 1e-1), min_length=1)
    tolerance: Positive = 1e-4
    max_iterations: int = Field(default=1000, ge=1)


class AdamWParams(_Strict):
    """Stochastic probes; every learning rate is tried with every weight decay.

    Attributes:
        solver: ``adamw``.
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: Decoupled decays, to choose from.
        n_epochs: Passes over the training stimuli.
        batch_size: Stimuli of a step.
    """

    solver: Literal["adamw"]
    learning_rates: tuple[Positive, ...] = Field(default=(1e-3, 1e-2, 1e-1), min_length=1)
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.0, 0.01, 1.0), min_length=1)
    n_epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)


class GapParams(_Strict):
    """How sure the correlation of similarity with differences of accuracy is.

    Attributes:
        n_bootstrap: Bootstrap samples of the networks, 40 or more for a confidence of 0.95; 0 leaves the
            intervals out.
        confidence: Coverage that the intervals aim at.
        n_permutations: Permutations of the networks' names for the p-values; 0 leaves them out.
        correction: How p-values are corrected for the number of stimulus sets of one measure.
        seed: Of bootstrap and permutations.
    """

    n_bootstrap: Count = 1000
    confidence: float = Field(default=0.95, gt=0, lt=1)
    n_permutations: Count = 4999
    correction: Literal["holm", "bonferroni", "benjamini-hochberg"] = "holm"
    seed: Seed = 0

    @model_validator(mode="after")
    def _percentiles_exist(self) -> Self:
        require_percentiles(self.n_bootstrap, self.confidence)
        return self


class ProbingParams(_Strict):
    """What is read out of which features, and how.

    Probes are fitted on features standardised by the training stimuli, after ``transform``. A stimulus set
    whose training split has fewer than ``min_classes`` classes with a label is left out, and the log says so.

    Attributes:
        stimulus_sets: Names of stimulus sets, or ``all`` that have features and enough classes.
        models: Names of networks, or ``all`` that have features.
        subset: Name of a stimulus subset that is part of the one from which the features were made; its
            labels and splits are used.
        labels: Label column to probe, by stimulus set, where a table of labels gives several; else the first.
        transform: What is done to the features first, in this order: ``unit_length`` (rows), ``centre``,
            ``standardise``, ``{pca: {variance: 0.99}}`` or ``{pca: {n_components: 50}}``; fitted on the
            labelled training stimuli.
        combinations: Several networks as one, by the name under which they are probed.
        fit: How probes are fitted.
        held_out_fraction: Share of each training class on which settings are chosen, before the probe is
            fitted again on all of them.
        min_classes: Fewest classes worth a probe, at least 2.
        keep_probabilities: Whether the class probabilities of the test stimuli at the final layer are stored,
            2 bytes for each stimulus and class; without them there is no Jensen-Shannon divergence and no
            ensemble.
        performance_gaps: How sure the correlation of similarity with differences of accuracy is.
        seed: Of the held-out part and, for stochastic probes, of first weights and batches.
    """

    stimulus_sets: Literal["all"] | list[str] = "all"
    models: Literal["all"] | list[str] = "all"
    subset: str = "analysis"
    labels: dict[str, str] = {}
    transform: Transform = ()
    combinations: dict[PlainName, Combination] = {}
    fit: LbfgsParams | AdamWParams = Field(default=LbfgsParams(), discriminator="solver")
    held_out_fraction: float = Field(default=0.2, gt=0, lt=1)
    min_classes: int = Field(default=2, ge=2)
    keep_probabilities: bool = True
    performance_gaps: GapParams = GapParams()
    seed: Seed = 0

    @field_validator("stimulus_sets", "models")
    @classmethod
    def _each_once(cls, names: list[str] | str, info: ValidationInfo) -> list[str] | str:
        if not isinstance(names, str):
            require_once(names, str(info.field_name))
        return names

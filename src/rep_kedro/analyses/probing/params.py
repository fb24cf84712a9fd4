"""Parameters of the probing pipeline, checked before any node runs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.analyses.probing.solver_params import (
    PAPER_SEEDS,
    AdamWParams,
    LbfgsParams,
    PrototypeParams,
    SolverParams,
)
from rep_kedro.features.spec import Combination, Transform
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Count, Seed, require_once, require_percentiles

PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class GapParams(Parameters):
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


class ProbingParams(Parameters):
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
        fit: How probes are fitted: solver ``lbfgs``, ``adamw``, ``ridge``, ``knn``, ``prototype`` or ``mlp``,
            and its settings to choose from.
        held_out_fraction: Share of each training class on which settings are chosen, before the probe is
            fitted again on all of them; 0 with a single setting: no layer has a held-out accuracy.
        min_classes: Fewest classes worth a probe, at least 2.
        keep_probabilities: Whether the class probabilities of the test stimuli at the final layer are stored,
            2 bytes for each stimulus and class; without them there is no Jensen-Shannon divergence and no
            ensemble.
        keep_logits: Whether the logits of the test stimuli at the final layer, and of attentive probes, are
            stored, 4 bytes for each stimulus and class.
        few_shot: Training stimuli of each class, drawn by each seed before anything is fitted; null: all.
            Probes of maps take those of the first seed.
        class_weights: ``balanced``: a training stimulus counts n / (n_classes * those of its class); not for
            prototypes, and not for probes of maps other than attentive ones.
        layer_probes: Probes of maps, pooled to few positions or position by position; none by default.
        performance_gaps: How sure the correlation of similarity with differences of accuracy is.
        seed: Of the held-out part and, for stochastic probes, of first weights and batches.
        seeds: Each probe is made with each; weights and predictions of the first are stored. Empty: `seed`
            alone, and those of the paper for its preset.
    """

    stimulus_sets: Literal["all"] | list[str] = "all"
    models: Literal["all"] | list[str] = "all"
    subset: str = "analysis"
    labels: dict[str, str] = Field(default_factory=dict)
    transform: Transform = ()
    combinations: dict[PlainName, Combination] = Field(default_factory=dict)
    fit: SolverParams = LbfgsParams()
    held_out_fraction: float = Field(default=0.2, ge=0, lt=1)
    min_classes: int = Field(default=2, ge=2)
    keep_probabilities: bool = True
    keep_logits: bool = False
    few_shot: int | None = Field(default=None, ge=1)
    class_weights: Literal["none", "balanced"] = "none"
    layer_probes: LayerProbesParams = LayerProbesParams()
    performance_gaps: GapParams = GapParams()
    seed: Seed = 0
    seeds: tuple[Seed, ...] = ()

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds of each probe; the first is that of what is stored."""
        if self.seeds:
            return self.seeds
        is_paper = isinstance(self.fit, AdamWParams) and self.fit.preset == "paper"
        return PAPER_SEEDS if is_paper else (self.seed,)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.class_weights == "balanced":
            self._require_weights_to_have_effect()
        fits = [
            ("fit", self.fit),
            *(("layer_probes.attentive", each) for each in self.layer_probes.all_attentive),
        ]
        for name, fit in fits:
            if self.held_out_fraction == 0.0 and fit.n_settings > 1:
                raise ValueError(
                    f"held_out_fraction: 0 leaves nothing to choose among {fit.n_settings} settings by; give"
                    f" {name} a single one"
                )
        learned = [step for step in self.transform if step != "unit_length"]
        learned += [c.reduce for c in self.combinations.values() if c.reduce != "none"]
        if self.few_shot is not None and learned and len(self.all_seeds) > 1:
            raise ValueError(
                "few_shot with several seeds cannot have transforms that learn from the training stimuli:"
                " each seed draws others; use one seed, or unit_length alone"
            )
        return self

    def _require_weights_to_have_effect(self) -> None:
        maps = self.layer_probes
        if isinstance(self.fit, PrototypeParams):
            raise ValueError("class_weights: balanced has no effect on prototypes; use none")
        if maps.models and any(each.pooled_sides or each.positions for each in maps.all_readouts):
            raise ValueError(
                "class_weights: balanced has no effect on layer_probes.pooled_sides and positions; use none,"
                " or attentive probes alone (pooled_sides: [], positions: false)"
            )

    @field_validator("fit", mode="before")
    @classmethod
    def _stored_features_have_no_tokens(cls, fit: Any) -> Any:
        if isinstance(fit, dict) and fit.get("solver") == "attentive":
            raise ValueError(
                "attentive probes read tokens or positions, which stored features do not have; set"
                " probing.layer_probes.attentive"
            )
        return fit

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        require_once([str(seed) for seed in seeds], "seeds")
        return seeds

    @field_validator("stimulus_sets", "models")
    @classmethod
    def _each_once(cls, names: list[str] | str, info: ValidationInfo) -> list[str] | str:
        if not isinstance(names, str):
            require_once(names, str(info.field_name))
        return names

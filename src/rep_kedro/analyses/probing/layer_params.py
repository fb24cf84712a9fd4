"""Parameters of probes on maps and tokens: pooled to few positions, one for each position, or attentive."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rep_kedro.analyses.probing.solver_params import AtLeastOne, AttentiveParams, Positive
from rep_kedro.parameter_model import Parameters


class LayerProbesParams(Parameters):
    """Which maps of which networks are probed, at which resolution; none by default.

    Features are made while images stream through the network and are not kept. Images and labels are those
    of `probing.subset`, the label that of `probing.labels`. The objective is scikit-learn's: C * sum of
    cross-entropies + |W|^2 / 2, bias not penalised, features as they are.

    Attributes:
        models: Networks trained here, or ``all`` of them.
        stimulus_sets: Names of stimulus sets, or ``all`` with enough classes (`probing.min_classes`).
        layers: ``kept`` by the architecture, ``all``, or names.
        pooled_sides: Sides d of maps that are averaged to d x d positions, all of them features of one probe;
            a side that is smaller already stays as it is. Layers without positions have one probe.
        positions: Whether each position of each map has a probe of its own.
        attentive: How a probe is fitted whose learned queries attend to the positions or tokens of each
            layer; none by default. Its settings are chosen on `probing.held_out_fraction` of the training
            stimuli.
        c: Inverse penalty C.
        tolerance: Of the largest element of the gradient.
        max_iterations: Steps after which a probe is taken as it is; the table says which ones.
        precision: Type in which features wait for their probe; activations beyond 65,504 need float32.
        memory_bytes: Most memory of the features of a chunk of layers and positions; each chunk is one pass
            of all images through the network.
        disk_bytes: If above 0, chunks wait in files that take so much, instead of in memory: fewer passes.
        batch_size: Images at a time.
        device: Where the network runs and probes are fitted; attentive ones on the CPU.
    """

    models: Literal["all"] | list[str] = Field(default_factory=list)
    stimulus_sets: Literal["all"] | list[str] = "all"
    layers: Literal["kept", "all"] | list[str] = "kept"
    pooled_sides: tuple[AtLeastOne, ...] = (4,)
    positions: bool = False
    attentive: AttentiveParams | None = None
    c: Positive = 1.0
    tolerance: Positive = 1e-4
    max_iterations: AtLeastOne = 100
    precision: Literal["float16", "float32"] = "float16"
    memory_bytes: AtLeastOne = 2 * 1024**3
    disk_bytes: Annotated[int, Field(ge=0)] = 0
    batch_size: AtLeastOne = 256
    device: str = "cpu"

    @model_validator(mode="after")
    def _something_is_probed(self) -> Self:
        if not (self.pooled_sides or self.positions or self.attentive):
            raise ValueError("nothing to probe: name pooled_sides, set positions to true, or set attentive")
        return self

"""Parameters of probes on maps and tokens: pooled to few positions, one for each position, or attentive."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rep_kedro.analyses.probing.solver_params import AtLeastOne, AttentiveParams, Positive
from rep_kedro.errors import suggest
from rep_kedro.parameter_model import Parameters


class _Readouts(Parameters):
    """What is probed in a network."""

    layers: Literal["kept", "all"] | list[str] = "kept"
    pooled_sides: tuple[AtLeastOne, ...] = (4,)
    positions: bool = False
    attentive: AttentiveParams | None = None
    precision: Literal["float16", "float32"] = "float16"


class LayerProbesParams(_Readouts):
    """Which maps and tokens of which networks are probed, at which resolution; none by default.

    Features are made while images stream through the network and are not kept. Images and labels are those
    of `probing.subset`, the label that of `probing.labels`. The objective is scikit-learn's: C * sum of
    cross-entropies + |W|^2 / 2, bias not penalised, features as they are.

    Attributes:
        models: Networks trained here and entries of `features.models`, or ``all`` of them.
        stimulus_sets: Names of stimulus sets, or ``all`` with enough classes (`probing.min_classes`).
        layers: ``kept`` by the architecture or named by the entry, ``all``, or names; of networks of
            libraries and own code also patterns.
        pooled_sides: Sides d of maps that are averaged to d x d positions, all of them features of one probe;
            a side that is smaller already stays as it is. Layers without positions have one probe. Tokens
            are the map of their patches, without class token and registers.
        positions: Whether each position of each map has a probe of its own.
        attentive: How a probe is fitted whose learned queries attend to the positions or tokens of each
            layer; none by default. Its settings are chosen on `probing.held_out_fraction` of the training
            stimuli.
        by_network: What differs from these settings (`layers`, `pooled_sides`, `positions`, `attentive`,
            `precision`), by name of networks or pattern; the first that fits counts.
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
    by_network: dict[str, _Readouts] = Field(default_factory=dict)
    c: Positive = 1.0
    tolerance: Positive = 1e-4
    max_iterations: AtLeastOne = 100
    memory_bytes: AtLeastOne = 2 * 1024**3
    disk_bytes: Annotated[int, Field(ge=0)] = 0
    batch_size: AtLeastOne = 256
    device: str = "cpu"

    def of(self, network: str) -> "LayerProbesParams":
        """Return the settings of one network."""
        for pattern, own in self.by_network.items():
            if fnmatchcase(network, pattern):
                given = {name: getattr(own, name) for name in own.model_fields_set}
                return self.model_copy(update=given)
        return self

    def unused(self, networks: Iterable[str]) -> list[str]:
        """Return the names and patterns of `by_network` that none of the probed networks takes."""
        names = list(networks)
        return [each for each in self.by_network if not any(fnmatchcase(name, each) for name in names)]

    @property
    def all_attentive(self) -> list[AttentiveParams]:
        """Fits of attentive probes, of all networks."""
        return [each.attentive for each in self.all_readouts if each.attentive]

    @property
    def all_readouts(self) -> list[_Readouts]:
        """What is probed in any network: as most have it, and as single ones do."""
        return [self, *map(self.of, self.by_network)]

    @model_validator(mode="after")
    def _something_is_probed(self) -> Self:
        for each in self.all_readouts:
            if not (each.pooled_sides or each.positions or each.attentive):
                raise ValueError(
                    "nothing to probe: name pooled_sides, set positions to true, or set attentive"
                )
        if self.models and isinstance(self.models, list):
            for name in self.unused(self.models):
                raise ValueError(
                    f"by_network: {name!r} fits no network of models; {suggest(name, self.models)}"
                )
        return self

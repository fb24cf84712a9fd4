"""Parameters of the stitching pipeline, checked before any node runs."""

from math import isqrt
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from rep_kedro.analyses.stitching.maps import LeastSquaresMap, StitchMap, TaskMap, with_default_fit
from rep_kedro.datasets.work import format_bytes
from rep_kedro.errors import UserError, require_known
from rep_kedro.models.study import ModelName
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Count, Seed, require_once, require_percentiles, without_nulls

PAIRS_AT_A_TIME = 16
"""How many pairs share one pass over the images."""
_COMPARED_BYTES = 100  # for each pair of images: matrices of three layers, and what measures make of them
MEASURES = ("cka", "svcca", "pwcca", "procrustes")
"""Comparisons of activations, which take longer than those of outputs."""


class JointParams(Parameters):
    """Which networks are joined, at which layers.

    Attributes:
        fronts: Names of networks whose beginning is used, or `all` of the recipe of the ends.
        ends: Names of networks that go on, or `all` of the recipe of the fronts. Of `all` and `all`, networks
            of each recipe are joined among themselves, each with few others
            (`stitching.max_partners_per_network`).
        layers: `same`: every layer of `stitching.layers` with the layer of the same name; `grid`: every one
            with every one; a list of names or patterns: these with the same name; a mapping from names or
            patterns of the front to such of the end: everything that fits one with everything that fits the
            other.
        flatten: Map every value of a layer to every value of the other, not channels at each position.
        control: `untrained`: the front's weights are drawn again; `noise`: its activations are replaced by
            noise of the same shape. Nothing of the image is left in the latter.
        include_self: Join each network with itself too; a control that must change nothing.
        maps: Names of the maps by which they are joined, or `all`.
    """

    fronts: Literal["all"] | list[str] = "all"
    ends: Literal["all"] | list[str] = "all"
    layers: Literal["same", "grid"] | list[str] | dict[str, str] = "same"
    flatten: bool = False
    control: Literal["none", "untrained", "noise"] = "none"
    include_self: bool = False
    maps: Literal["all"] | list[str] = "all"

    @model_validator(mode="after")
    def _require_something(self) -> Self:
        for name in ("fronts", "ends", "layers", "maps"):
            value = getattr(self, name)
            if not value:
                raise UserError(f"{name} names nothing; leave it out, or name at least one")
            if isinstance(value, list):
                require_once(value, name)
        return self


class StitchingParams(Parameters):
    """Which networks are joined where, and by what maps.

    Networks with a head are joined on the stimulus set they were trained on: maps are found on its split
    `train` and the joined networks tested on its split `test`. Networks trained here are of one recipe if
    they differ in nothing but their seed. Of files no more is known than their entry states: those of one
    architecture, input, number of classes, `trained_on` and `objective` are of one recipe.

    Attributes:
        stimulus_sets: Names of stimulus sets, or `all` that networks with a head were trained on.
        subset: Name of the subset of each of these sets whose images are used, such as `analysis`; it needs
            images of both splits. Null for the whole sets.
        n_fit: The most training images that a map is found on; of more, so many are drawn. Null for all.
        n_test: The most test images; of more, so many are drawn. Null for all.
        seed: Of these draws, of weights that a control draws and of noise.
        models: What `all` means: names of networks, or `all` that are trained here, or are entries of source
            `checkpoint` in `features.models` with a head.
        across_objectives: Also networks of different objectives and trainings are of one recipe, if
            architecture, input, number of classes and stimulus set are the same.
        max_partners_per_network: With how many others of its recipe each network is joined, in both
            directions; null for all. Partners are neighbours in the order of names, equally many for each
            (one fewer where an odd number cannot be shared out).
        layers: Which layers `same` and `grid` mean: `kept` for those whose features are kept, `cut_points`
            for every layer that no connection jumps over.
        joints: Which networks are joined, at which layers.
        maps: The maps of every joint, by name.
        measures: Further comparisons of activations at the joint, of MEASURES.
        n_compare: The most test images for them; the first of those tested. Null for all.
        n_bootstrap: Resamples of test images for intervals; 0 for none.
        confidence: Coverage that the intervals aim at.
        reports: Names of maps that get a report of two pages for each pair of networks.
        memory_bytes: Of activations in memory; more are in a scratch file. Part of no recipe.
        batch_size: Images at a time; part of no recipe, it changes last digits at most.
        device: Where networks run, such as `cpu` or `cuda`; part of no recipe.
    """

    stimulus_sets: Literal["all"] | list[str] = "all"
    subset: str | None = None
    n_fit: PositiveInt | None = 5000
    n_test: PositiveInt | None = 2000
    seed: Seed = 0
    models: Literal["all"] | list[str] = "all"
    across_objectives: bool = False
    max_partners_per_network: int | None = Field(default=4, ge=2)
    layers: Literal["kept", "cut_points"] = "kept"
    joints: list[JointParams] = Field(default=[JointParams()], min_length=1)
    maps: Annotated[
        dict[ModelName, Annotated[StitchMap, Field(discriminator="fit"), BeforeValidator(with_default_fit)]],
        BeforeValidator(without_nulls),
    ] = {"ps_inv": LeastSquaresMap(fit="least_squares")}
    measures: list[str] = []
    n_compare: PositiveInt | None = 1000
    n_bootstrap: Count = 1000
    confidence: float = Field(default=0.95, gt=0, lt=1)
    reports: list[str] = []
    memory_bytes: PositiveInt = 1_000_000_000
    batch_size: PositiveInt = 256
    device: str = "cpu"

    @model_validator(mode="after")
    def _require_known_names(self) -> Self:
        for name in self.reports:
            require_known("map", name, self.maps)
        for name in self.measures:
            require_known("measure", name, MEASURES)
        require_percentiles(self.n_bootstrap, self.confidence)
        for name, given in self.maps.items():
            if isinstance(given, TaskMap) and given.path_from is not None:
                require_known(f"map in maps.{name}.path_from", given.path_from, {*self.maps} - {name})
            if isinstance(given, TaskMap) and self.n_fit is not None:
                try:
                    given.require_steps(self.n_fit)
                except UserError as problem:
                    raise UserError(f"maps.{name}: {problem}") from problem
        return self

    def maps_of(self, joint: JointParams) -> dict[str, StitchMap]:
        """Return the maps of a joint, by name."""
        return self.maps if isinstance(joint.maps, str) else {name: self.maps[name] for name in joint.maps}

    def require_room_to_compare(self, n_stimuli: int) -> None:
        """Refuse comparisons of activations that do not fit into memory.

        Args:
            n_stimuli: The most test images that there can be.

        Raises:
            UserError: If they need more than `memory_bytes`.
        """
        n = min(each for each in (self.n_compare, self.n_test, n_stimuli) if each is not None)
        if n**2 * _COMPARED_BYTES > self.memory_bytes:
            raise UserError(
                f"stitching.measures on {n:,} images need {format_bytes(n**2 * _COMPARED_BYTES)}, more than"
                f" stitching.memory_bytes ({format_bytes(self.memory_bytes)}); set stitching.n_compare to at"
                f" most {isqrt(self.memory_bytes // _COMPARED_BYTES):,} or raise it"
            )

    @model_validator(mode="after")
    def _require_maps_of_joints(self) -> Self:
        for joint in self.joints:
            for name in () if isinstance(joint.maps, str) else joint.maps:
                require_known("map", name, self.maps)
                partner = getattr(self.maps[name], "path_from", None)
                if partner is not None and self.maps[partner].is_trained and partner not in joint.maps:
                    raise UserError(f"map {name!r} has a path from {partner!r}, which its joint leaves out")
        return self

    @model_validator(mode="after")
    def _require_outputs_of_noise(self) -> Self:
        noisy = [self.maps_of(joint) for joint in self.joints if joint.control == "noise"]
        needing = [name for given in noisy for name in given if given[name].needs_front_outputs]
        if needing:
            target: Any = getattr(self.maps[needing[0]], "target", "")
            raise UserError(
                f"maps.{needing[0]}.target {target} needs what the front predicts, and noise predicts"
                " nothing; choose hard or soft_2"
            )
        return self

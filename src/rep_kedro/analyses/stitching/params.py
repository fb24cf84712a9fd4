"""Parameters of the stitching pipeline, checked before any node runs."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_model import PlainNumbers

PAIRS_AT_A_TIME = 16
"""How many pairs share one pass over the images."""


class StitchingParams(PlainNumbers, BaseModel):
    """Which networks are joined where, and by what map.

    Networks with a head are joined with others of their kind, in both directions, on the stimulus set they
    were trained on: the map is fitted on its split ``train`` and the joined network tested on its split
    ``test``. Networks trained here are of one kind if they differ in nothing but their seed. Of files no more
    is known than their entry states: those of one architecture, input, number of classes, ``trained_on`` and
    ``objective`` are of one kind; those that state no objective are a kind of their own.

    Attributes:
        stimulus_sets: Names of stimulus sets, or ``all`` that networks with a head were trained on.
        subset: Name of the subset of each of these sets whose images are used, such as ``analysis``; it needs
            images of both splits. Null for the whole sets.
        n_fit: The most training images that a map is fitted on; of more, so many are drawn. Null for all.
        n_test: The most test images; of more, so many are drawn. Null for all.
        seed: Of these draws.
        models: Names of networks, or ``all`` that can be cut: those trained here, and entries of source
            ``checkpoint`` in ``features.models`` with a head.
        across_objectives: Join networks of different objectives and trainings too, if architecture, input,
            number of classes and stimulus set are the same. Networks trained here are not joined with files.
        max_partners_per_network: With how many others of its kind each network is joined, in both
            directions; null for all. Partners are neighbours in the order of names, equally many for each
            (one fewer where an odd number cannot be shared out).
        layers: ``kept`` for the layers whose features are kept, ``cut_points`` for every layer that no
            connection jumps over.
        map_family: ``affine`` (least squares), ``orthogonal`` (Procrustes) or ``reduced_rank``.
        map_rank: Rank of a reduced-rank map.
        relative_cutoff: Directions of the front with less variance than this, relative to the largest, are
            left out.
        include_self: Join each network with itself too; a control that must change nothing.
        batch_size: Images at a time; part of no recipe, it changes last digits at most.
        device: Where networks run, such as ``cpu`` or ``cuda``; part of no recipe.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stimulus_sets: Literal["all"] | list[str] = "all"
    subset: str | None = None
    n_fit: PositiveInt | None = 5000
    n_test: PositiveInt | None = 2000
    seed: int = Field(default=0, ge=0)
    models: Literal["all"] | list[str] = "all"
    across_objectives: bool = False
    max_partners_per_network: int | None = Field(default=4, ge=2)
    layers: Literal["kept", "cut_points"] = "kept"
    map_family: Literal["affine", "orthogonal", "reduced_rank"] = "affine"
    map_rank: PositiveInt | None = None
    relative_cutoff: float = Field(default=1e-12, gt=0, lt=1)
    include_self: bool = False
    batch_size: PositiveInt = 256
    device: str = "cpu"

    @model_validator(mode="after")
    def _require_rank_where_it_counts(self) -> Self:
        if (self.map_family == "reduced_rank") != (self.map_rank is not None):
            raise UserError(
                f"map_rank belongs to map_family reduced_rank, got {self.map_rank} with {self.map_family}"
            )
        return self

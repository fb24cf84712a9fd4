"""The similarities under one measure as arrays: matrices, groups of pairs, resampled networks and sets."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.consistency.groups import Group, list_groups, strata_of
from rep_kedro.analyses.similarity.params import ConsistencyParams

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Generator, Tensor
else:
    DataFrame = Generator = Tensor = Any  # so that Kedro can read the hints


@dataclass(frozen=True)
class Study:
    """The similarities under one measure.

    Attributes:
        measure: Its id.
        stimulus_sets: Their names, sorted; at least two.
        models: Names of the networks, sorted.
        matrices: Similarities, shape (n_sets, n_models, n_models), symmetric, NaN where there is none.
        groups: Groups of pairs of networks that have enough of them.
        small_groups: Those that have too few, with their numbers of pairs.
    """

    measure: str
    stimulus_sets: list[str]
    models: list[str]
    matrices: Tensor
    groups: list[Group]
    small_groups: list[tuple[Group, int]]

    @cached_property
    def masks(self) -> Tensor:
        """Which pairs are in a group, bool, shape (n_groups, n_models, n_models)."""
        return mask_groups(self.groups, len(self.models))

    @cached_property
    def set_pairs(self) -> Tensor:
        """Unordered pairs of stimulus sets, int64, shape (2, n_set_pairs)."""
        import torch

        return torch.triu_indices(len(self.stimulus_sets), len(self.stimulus_sets), offset=1)


@dataclass(frozen=True)
class Resample:
    """Bootstrap samples for those groups that share what is held fixed.

    Attributes:
        groups: Places of the groups in the study.
        model_counts: How often each network is in each sample, shape (n_bootstrap, n_models).
        set_counts: How often each stimulus set is, shape (n_bootstrap, n_sets).
    """

    groups: list[int]
    model_counts: Tensor
    set_counts: Tensor


def list_studies(similarities: DataFrame, cards: DataFrame, params: ConsistencyParams) -> Iterator[Study]:
    """Yield each measure that has at least two stimulus sets; directions of a pair enter with their mean.

    Args:
        similarities: The tidy table of similarities.
        cards: One row per network, with the columns that ``params.categories`` names.
        params: Groups.

    Raises:
        ValueError: If a set of networks or an anchor names what no network has.
    """
    for measure, table in similarities.groupby("measure", sort=True):
        stimulus_sets = sorted(table["stimulus_set"].unique())
        models = sorted(set(table["model_a"]) | set(table["model_b"]))
        if len(stimulus_sets) < 2:
            continue
        groups = list_groups(models, cards, params)
        sizes = mask_groups(groups, len(models)).sum(dim=(1, 2)).tolist()
        yield Study(
            str(measure),
            stimulus_sets,
            models,
            stack_similarities(table, stimulus_sets, models),
            [group for group, size in zip(groups, sizes, strict=True) if size >= params.min_pairs],
            [(group, size) for group, size in zip(groups, sizes, strict=True) if size < params.min_pairs],
        )


def explain_small(params: ConsistencyParams) -> str:
    """Return the reason of groups that have too few pairs of networks."""
    return f"fewer than {params.min_pairs} model pairs"


def stack_similarities(table: DataFrame, stimulus_sets: list[str], models: list[str]) -> Tensor:
    """Return similarities, shape (n_sets, n_models, n_models), symmetric, NaN where there is none."""
    import numpy as np
    import torch

    from rep_kedro.kernels.statistics.consistency import stack_model_pairs

    place_of_set = {name: index for index, name in enumerate(stimulus_sets)}
    place = {name: index for index, name in enumerate(models)}
    at = np.stack(
        [
            table["stimulus_set"].map(place_of_set).to_numpy(dtype="int64"),
            *(table[side].map(place).to_numpy(dtype="int64") for side in ("model_a", "model_b")),
        ]
    )
    values = torch.tensor(table["similarity"].to_numpy(dtype="float64"))
    return stack_model_pairs(torch.tensor(at), values, shape=(len(stimulus_sets), len(models)))


def mask_groups(groups: list[Group], n_models: int) -> Tensor:
    """Return which pairs are in each group, bool, shape (n_groups, n_models, n_models)."""
    import torch

    from rep_kedro.kernels.statistics.consistency import mask_model_pairs

    masks = [mask_model_pairs(group.members_a, group.members_b) for group in groups]
    return torch.stack(masks) if masks else torch.zeros(0, n_models, n_models, dtype=torch.bool)


def resample(study: Study, cards: DataFrame, params: ConsistencyParams) -> Iterator[Resample]:
    """Draw bootstrap samples: once for all groups without an anchor, once for those of each anchor.

    Networks are drawn within the values of the first category. An anchor is in every sample, once: intervals
    are about other networks, not this one.
    """
    import torch

    for anchor in dict.fromkeys(group.anchor for group in study.groups):
        strata = strata_of(study.models, cards, params)
        if anchor:
            strata[study.models.index(anchor)] = len(study.models)
        generator = torch.Generator().manual_seed(params.seed)
        of_models = draw_counts(strata, params, generator)
        of_sets = torch.zeros(len(study.stimulus_sets), dtype=torch.int64)
        places = [index for index, group in enumerate(study.groups) if group.anchor == anchor]
        yield Resample(places, of_models, draw_counts(of_sets, params, generator))


def draw_counts(strata: Tensor, params: ConsistencyParams, generator: Generator) -> Tensor:
    """Return how often each unit is in each bootstrap sample, int64, shape (n_bootstrap, n_units)."""
    from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts

    return draw_bootstrap_counts(strata, params.n_bootstrap, generator=generator)

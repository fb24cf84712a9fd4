"""Groups of network pairs: all, by category, by pairs of sets, those of an anchor."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.similarity.params import ConsistencyParams, SetStep
from rep_kedro.errors import UserError, close_names, suggest
from rep_kedro.schemas.consistency import GROUP_COLUMNS

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor
else:
    DataFrame = Tensor = Any  # so that Kedro can read the hints

ALL = "all"
MODEL_SETS = "model_sets"
ABSENT = "none"  # value of a network that has none in a column: trained on nothing


@dataclass(frozen=True)
class Group:
    """Pairs of networks {a, b}, a of the first set and b of the second.

    Attributes:
        category: ``all``, a category of the model cards, or ``model_sets``.
        value_a: What the networks of the first set are: ``all``, their value of the category, the name of
            their set; of an anchor its own name.
        value_b: The same for the second set.
        members_a: Which networks are in the first set, bool, shape (n_models,).
        members_b: The same for the second set.
        anchor: The one network of the first set, where it is held fixed; else empty.
    """

    category: str
    value_a: str
    value_b: str
    members_a: Tensor
    members_b: Tensor
    anchor: str = ""

    @property
    def family(self) -> tuple[str, str]:
        """Which groups are tested together: those of one anchor, else those of one category."""
        return (self.anchor, "" if self.anchor else self.category)

    def columns(self) -> dict[str, str]:
        """Return what tables say of the group."""
        return {name: getattr(self, name) for name in GROUP_COLUMNS}


def list_groups(models: Sequence[str], cards: DataFrame, params: ConsistencyParams) -> list[Group]:
    """List all pairs, pairs of values of each category, wanted pairs of sets, and anchors with others.

    Args:
        models: The networks, in the order of the matrices.
        cards: One row per network, with the columns that the parameters name.
        params: Categories, sets of networks and their pairs, anchors.

    Returns:
        Groups; networks without a value of a category count as ``none``. An anchor is paired with all others,
        then with the others of each value of each category.

    Raises:
        ValueError: If a set names a network or a value that no network has, or an anchor is not there.
    """
    import torch

    values = _values_by_column(models, cards, params)
    everyone = torch.ones(len(models), dtype=torch.bool)
    groups = [Group(ALL, ALL, ALL, everyone, everyone)]
    for category in params.categories:
        own = values[category]
        members = {
            value: torch.tensor([v == value for v in own], dtype=torch.bool) for value in sorted(set(own))
        }
        groups += [
            Group(category, a, b, members[a], members[b])
            for a, b in combinations_with_replacement(members, 2)
        ]
    sets = {name: _members_of(name, steps, values) for name, steps in params.model_sets.items()}
    for a, b in params.set_pairs:
        groups.append(Group(MODEL_SETS, a, b, sets[a], sets[b]))
    return [*groups, *_list_anchored(models, params, values)]


def list_distinct_groups(
    models: Sequence[str], cards: DataFrame, params: ConsistencyParams
) -> list[dict[str, str]]:
    """List the groups without an anchor; of those that hold the same pairs of networks, the first alone.

    Returns:
        The columns that name each group.
    """
    from rep_kedro.kernels.statistics.consistency import mask_model_pairs

    found: dict[bytes, dict[str, str]] = {}
    for group in list_groups(models, cards, params.model_copy(update={"anchors": []})):
        pairs = mask_model_pairs(group.members_a, group.members_b)
        found.setdefault(pairs.numpy().tobytes(), group.columns())
    return list(found.values())


def _list_anchored(
    models: Sequence[str], params: ConsistencyParams, values: Mapping[str, list[str]]
) -> Iterator[Group]:
    """Yield each anchor with all other networks, and with those of each value of each category."""
    import torch

    for anchor in _compared_anchors(models, params):
        alone = torch.tensor([model == anchor for model in models], dtype=torch.bool)
        yield Group(ALL, anchor, ALL, alone, torch.ones_like(alone), anchor)
        for category in params.categories:
            own = values[category]
            for value in sorted(set(own)):
                members = torch.tensor([v == value for v in own], dtype=torch.bool)
                yield Group(category, anchor, value, alone, members, anchor)


def _compared_anchors(models: Sequence[str], params: ConsistencyParams) -> Iterator[str]:
    """Yield the anchors that are compared; the log names those that are not."""
    for anchor in params.anchors:
        if anchor in models:
            yield anchor
        else:
            _log.warning("anchor %s is left out: it is not among the compared networks", anchor)


def size_class_of(n_parameters: float, limits: Mapping[str, float | None]) -> str:
    """Return the first class whose limit the number of parameters stays below; the one without a limit else.

    Example:
        >>> size_class_of(25_000_000, {"small": 1e8, "large": None})
        'small'
    """
    for name, limit in limits.items():
        if limit is None or n_parameters < limit:
            return name
    raise UserError(f"{n_parameters:g} parameters fit no size class; end size_limits with a limit of null")


def strata_of(models: Sequence[str], cards: DataFrame, params: ConsistencyParams) -> Tensor:
    """Return the stratum of each network for resampling: its value of the first category; one without any."""
    import torch

    if not params.categories:
        return torch.zeros(len(models), dtype=torch.int64)
    own = _values_by_column(models, cards, params)[params.categories[0]]
    return torch.tensor([sorted(set(own)).index(value) for value in own])


def _values_by_column(
    models: Sequence[str], cards: DataFrame, params: ConsistencyParams
) -> dict[str, list[str]]:
    """Return the text of every network in every column that categories and sets may name."""
    import pandas as pd

    rows = cards.set_index("model").loc[list(models)]
    found = {"model": list(models)}
    for column in ("objective", "architecture", "source", "trained_on"):
        if column in rows:
            found[column] = [ABSENT if pd.isna(value) else str(value) for value in rows[column]]
    class_of = {name: title for title, names in params.training_data_classes.items() for name in names}
    found["training_data"] = [class_of.get(name, name) for name in found.get("trained_on", [])]
    if "n_parameters" in rows:
        found["size"] = [
            ABSENT if pd.isna(n) else size_class_of(n, params.size_limits) for n in rows["n_parameters"]
        ]
    return found


def _members_of(name: str, steps: Sequence[SetStep], values: Mapping[str, list[str]]) -> Tensor:
    """Follow the steps in their order, from the empty set."""
    import torch

    members = torch.zeros(len(values["model"]), dtype=torch.bool)
    for step in steps:
        matched = torch.tensor(list(_matches(name, step, values)), dtype=torch.bool)
        members = members & ~matched if step.exclude is not None else members | matched
    if not members.any():
        _log.warning("model set %s is empty: no network matches its steps in consistency.model_sets", name)
    return members


def _matches(name: str, step: SetStep, values: Mapping[str, list[str]]) -> Iterator[bool]:
    """Return for each network whether it has one of the values of every column.

    A set may exclude what this study happens to lack, unless it looks like a misspelling.
    """
    wanted = step.conditions()
    for column, allowed in wanted.items():
        for value in allowed:
            if value not in values[column]:
                if step.exclude is not None and not close_names(value, values[column]):
                    continue
                hint = suggest(value, values[column])
                raise UserError(f"model set {name!r}: no network has {column} {value!r}; {hint}")
    for index in range(len(values["model"])):
        yield all(values[column][index] in allowed for column, allowed in wanted.items())

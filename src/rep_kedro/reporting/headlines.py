"""Headlines: a winner is named only where it survives other networks and other stimulus sets.

Every sentence of the report that names a largest, a smallest or an order is made here, from candidates with
their values and what varies among them. Where the leader cannot be separated from others, the sentence names
all of them instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rep_kedro.kernels.statistics.bootstrap import replicate_median_consistency
from rep_kedro.kernels.statistics.consistency import stack_model_pairs
from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.kernels.statistics.headlines import find_leader, resample_kinds, resample_units
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts
from rep_kedro.reporting.names import Kind, written_kind
from rep_kedro.reporting.page import list_in_words, write_difference, write_number
from rep_kedro.reporting.pairs import kinds_of, with_kinds

N_REPLICATES = 400
SEED = 0
MOST_NAMES = 6
SAME, OTHER = "the same objective", "different objectives"


class Undecided(str):
    """A sentence that names no winner: the summary repeats it only where nothing else can be said."""

    __slots__ = ()


@dataclass(frozen=True)
class Ranking:
    """Candidates with their estimates, and which of them leads.

    Attributes:
        names: Of the candidates, as people read them.
        estimates: One number each.
        leader: Place of the largest estimate, or the smallest where that was asked for.
        rivals: Places of those that cannot be separated from it.
        margin: By how much the leader is ahead of every other at least; NaN where there are rivals.
    """

    names: tuple[str, ...]
    estimates: tuple[float, ...]
    leader: int
    rivals: tuple[int, ...]
    margin: float

    def in_words(self, winner: str, question: str, *, kind: str = "number", digits: int = 2) -> str:
        """Return the headline, or the sentence that says which candidates cannot be separated.

        Args:
            winner: Sentence with ``{name}``, such as ``{name} pairs are most similar``.
            question: What is undecided otherwise, such as ``which pairs are most similar``.
            kind: How values are written.
            digits: Digits after the point.
        """
        if not self.rivals:
            sentence = winner.replace("{name}", self.names[self.leader], 1)
            value = write_number(self.estimates[self.leader], kind, digits)
            margin = write_difference(self.margin, kind, digits)
            return f"{sentence}: {value}, at least {margin} from every other."
        if self.is_open:
            n = len(self.names)
            among = (
                f"neither {self.names[0]} nor {self.names[1]} is clearly ahead"
                if n == 2
                else f"none of the {n} is clearly ahead"
            )
            return Undecided(f"{question} is undecided: {among}.")
        places = sorted((self.leader, *self.rivals), key=lambda place: self.names[place])
        named = [f"{self.names[i]} ({write_number(self.estimates[i], kind, digits)})" for i in places]
        return Undecided(
            f"{question} is undecided: {list_in_words(named, MOST_NAMES)} are too close to separate."
        )

    @property
    def is_open(self) -> bool:
        """Whether the leader cannot be separated from any other candidate."""
        return len(self.rivals) == len(self.names) - 1


def ends_in_words(most: Ranking | None, least: Ranking | None, winner: str, question: str) -> list[str]:
    """Name both ends of one order; where nothing can be said of either, in one sentence.

    Args:
        most: Ranking by the largest.
        least: Ranking of the same candidates by the smallest.
        winner: With ``{name}`` and ``{end}``, which becomes ``most`` or ``least``.
        question: With ``{end}``.
    """
    if most is None or least is None:
        return []
    if most.is_open and least.is_open:
        return [most.in_words(winner, question.replace("{end}", "most or least"))]
    return [
        ranking.in_words(winner.replace("{end}", end), question.replace("{end}", end))
        for ranking, end in ((most, "most"), (least, "least"))
    ]


def rank(
    names: Sequence[str],
    estimates: Tensor,
    replicates: Tensor,
    n_units: Sequence[int],
    *,
    smallest: bool = False,
    share_units: bool = False,
    level: float = LEVEL,
) -> Ranking | None:
    """Rank candidates; those without an estimate are left out, and fewer than two are not a ranking.

    Args:
        names: Of the candidates.
        estimates: Shape (n_candidates,).
        replicates: On resampled units, shape (n_replicates, n_candidates).
        n_units: How many units were resampled for each candidate.
        smallest: Whether the smallest leads.
        share_units: Whether all candidates were measured on the same units.
        level: Chance of a false winner.
    """
    kept = [index for index in range(len(names)) if not estimates[index].isnan()]
    if len(kept) < 2:
        return None
    sign = -1.0 if smallest else 1.0
    found = find_leader(
        sign * estimates[kept],
        sign * replicates[:, kept],
        [n_units[index] for index in kept],
        share_units=share_units,
        level=level,
    )
    others = [float(margin) for index, margin in enumerate(found.margin) if index != found.index]
    return Ranking(
        tuple(names[index] for index in kept),
        tuple(estimates[kept].tolist()),
        found.index,
        found.rivals,
        float("nan") if found.rivals else min(others),
    )


def rank_kinds(
    rows: pd.DataFrame, column: str, *, error: str | None = None, smallest: bool = False
) -> Ranking | None:
    """Rank kinds of pairs of networks (by their objectives) by the mean of a column over the stimulus sets.

    Networks are drawn within objectives.

    Args:
        rows: ``stimulus_set``, ``model_a``, ``model_b``, ``objective_a``, ``objective_b`` and the column.
        column: What is averaged.
        error: Column of its standard errors over the choice of stimuli; they are added as if all pairs of one
            kind erred together, and kinds independently.
        smallest: Whether the smallest leads.
    """
    pairs = _Pairs(rows, column, error)
    kinds = sorted(set(kinds_of(with_kinds(rows, "objective"))))
    masks = [pairs.of_objectives(kind) for kind in kinds]
    n_units = [pairs.n_networks(kind) for kind in kinds]
    return pairs.rank([written_kind(kind) for kind in kinds], masks, n_units, smallest=smallest)


def rank_sameness(rows: pd.DataFrame, column: str, *, error: str | None = None) -> Ranking | None:
    """Rank pairs of one objective against pairs of two by the mean of a column, as :func:`rank_kinds`."""
    pairs = _Pairs(rows, column, error)
    own = pairs.strata[:, None] == pairs.strata
    n_units = min((pairs.n_networks((name, name)) for name in pairs.objectives), default=0)
    return pairs.rank([SAME, OTHER], [own.triu(1), (~own).triu(1)], [n_units, n_units])


def rank_consistency(similarities: pd.DataFrame, *, smallest: bool = False) -> Ranking | None:
    """Rank kinds of pairs (by their objectives) by their median consistency over pairs of stimulus sets.

    Networks are drawn within objectives, and stimulus sets.

    Args:
        similarities: The contract's table, rows of one measure.
        smallest: Whether the least consistent leads.
    """
    pairs = _Pairs(similarities, "similarity")
    kinds = sorted(set(kinds_of(with_kinds(similarities, "objective"))))
    if len(pairs.values) < 2 or not kinds:
        return None
    generator = torch.Generator().manual_seed(SEED)
    replicates, estimates = replicate_median_consistency(
        pairs.values,
        torch.stack([pairs.of_objectives(kind) for kind in kinds]),
        model_counts=draw_bootstrap_counts(pairs.strata, N_REPLICATES, generator=generator),
        set_counts=draw_bootstrap_counts(
            torch.zeros(len(pairs.values), dtype=torch.int64), N_REPLICATES, generator=generator
        ),
    )
    names = [written_kind(kind) for kind in kinds]
    n_units = [min(pairs.n_networks(kind), len(pairs.values)) for kind in kinds]
    return rank(names, estimates, replicates, n_units, smallest=smallest, share_units=True)


def rank_columns(wide: pd.DataFrame, *, n_images: int | None = None, level: float = LEVEL) -> Ranking | None:
    """Rank the columns of a table by their mean over its rows, which are drawn.

    Args:
        wide: One row per unit (a network, a stimulus set), one column per candidate; rows with a gap are left
            out.
        n_images: Where the values are accuracies on so many images, for each row: the chance of other images
            is added.
        level: Chance of a false winner.
    """
    values = torch.tensor(wide.dropna().to_numpy(dtype=np.float64))
    if not len(values):
        return None
    generator = torch.Generator().manual_seed(SEED)
    means, replicates = resample_units(values, n_replicates=N_REPLICATES, generator=generator)
    if n_images is not None:
        replicates = replicates + _chance_of_images(means, n_images, generator)
    names = [str(name) for name in wide.columns]
    return rank(names, means, replicates, [len(values)] * len(names), share_units=True, level=level)


def rank_groups(
    values: pd.Series, groups: pd.Series, *, n_images: int, level: float = LEVEL
) -> Ranking | None:
    """Rank groups of networks by their mean accuracy; networks are drawn within groups.

    Args:
        values: Accuracy of each network on the same images.
        groups: What each network is.
        n_images: So many images; the chance of others is added, as if groups erred independently.
        level: Chance of a false winner.
    """
    generator = torch.Generator().manual_seed(SEED)
    names, means, replicates, n_units = [], [], [], []
    for name, part in values.groupby(groups, sort=True):
        column = torch.tensor(part.to_numpy(dtype=np.float64))[:, None]
        mean, drawn = resample_units(column, n_replicates=N_REPLICATES, generator=generator)
        names.append(str(name))
        means.append(mean)
        replicates.append(drawn + _chance_of_images(mean, n_images, generator))
        n_units.append(len(part))
    if not names:
        return None
    return rank(names, torch.cat(means), torch.cat(replicates, dim=1), n_units, level=level)


def _chance_of_images(accuracies: Tensor, n_images: int, generator: torch.Generator) -> Tensor:
    spread = (accuracies * (1 - accuracies) / n_images).clamp(min=0).sqrt()
    return spread * torch.randn(N_REPLICATES, len(accuracies), generator=generator, dtype=torch.float64)


class _Pairs:
    """Values of pairs of networks as arrays: one matrix per stimulus set, and the networks' objectives."""

    def __init__(self, rows: pd.DataFrame, column: str, error: str | None = None) -> None:
        sides = [
            pd.Series(
                rows[f"objective_{side}"].astype(str).to_numpy(), index=rows[f"model_{side}"].astype(str)
            )
            for side in "ab"
        ]
        objective = pd.concat(sides).groupby(level=0).first() if len(rows) else pd.Series(dtype=object)
        self.objectives = sorted(set(objective))
        self.strata = torch.tensor([self.objectives.index(name) for name in objective], dtype=torch.int64)
        self._models = {model: index for index, model in enumerate(objective.index)}
        self.values = self._stack(rows, column)
        self.errors = torch.zeros_like(self.values) if error is None else self._stack(rows, error)

    def _stack(self, rows: pd.DataFrame, column: str) -> Tensor:
        """Return a column as matrices, shape (n_sets, n_networks, n_networks)."""
        sets = {name: index for index, name in enumerate(sorted(rows["stimulus_set"].astype(str).unique()))}
        places = [
            rows["stimulus_set"].astype(str).map(sets),
            *(rows[f"model_{side}"].astype(str).map(self._models) for side in "ab"),
        ]
        return stack_model_pairs(
            torch.tensor(np.stack([column.to_numpy(dtype=np.int64) for column in places])),
            torch.tensor(rows[column].to_numpy(dtype=np.float64)),
            shape=(len(sets), len(self._models)),
        )

    def of_objectives(self, kind: Kind) -> Tensor:
        """Return which pairs are of a kind, bool, above the diagonal."""
        a, b = (self.strata == self.objectives.index(name) for name in kind)
        return ((a[:, None] & b) | (b[:, None] & a)).triu(diagonal=1)

    def n_networks(self, kind: Kind) -> int:
        """Return how many networks the rarer of two objectives has."""
        return min(int((self.strata == self.objectives.index(name)).sum()) for name in kind)

    def rank(
        self, names: Sequence[str], masks: Sequence[Tensor], n_units: Sequence[int], *, smallest: bool = False
    ) -> Ranking | None:
        """Rank kinds of pairs by their mean."""
        if not masks or not len(self.strata):
            return None
        generator = torch.Generator().manual_seed(SEED)
        means, replicates = resample_kinds(
            self.values, torch.stack(list(masks)), self.strata, n_replicates=N_REPLICATES, generator=generator
        )
        noise = torch.randn(N_REPLICATES, len(masks), generator=generator, dtype=torch.float64)
        replicates = replicates + torch.stack([self._error_of(mask) for mask in masks]) * noise
        return rank(names, means, replicates, n_units, smallest=smallest)

    def _error_of(self, mask: Tensor) -> Tensor:
        """Return the standard error of a kind's mean over stimuli; NaN where that of all its pairs is."""
        per_set = self.errors[:, mask].nanmean(dim=1)
        return per_set.square().sum().sqrt() / len(per_set)

"""Seeded draws of stimuli from a set, and the rules by which they are drawn.

A draw of the rule ``stratified`` depends on the names of set and subset, the seed and the stimulus ids: not
on the order of processing, nor on what else is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Seed
from rep_kedro.stimuli.splits import group_rows, hash_of, rank_by_seed, share_equally

if TYPE_CHECKING:
    import pyarrow as pa

MAX_REPEATS = 10_000  # each is a member of a collection


@dataclass(frozen=True)
class Population:
    """The stimuli that are drawn from, in the set's order.

    Attributes:
        ids: Stimulus ids.
        labels: Label of each stimulus; None where it has none.
        splits: Split of each stimulus.
    """

    ids: Sequence[str]
    labels: Sequence[int | None]
    splits: Sequence[str]

    def rows_by_class(self, split: str) -> dict[int | None, list[int]]:
        """Return the rows of each class of a split, classes ascending.

        Raises:
            ValueError: If the set has no such split.
        """
        rows = [row for row, own in enumerate(self.splits) if own == split]
        if not rows:
            raise UserError(f"the set has no split {split!r}; {suggest(split, set(self.splits))}")
        grouped = group_rows(self.labels[row] for row in rows)
        return {
            label: [rows[position] for position in grouped[label]]
            for label in sorted(grouped, key=lambda label: (label is None, label))
        }


class SubsetRule(Parameters):
    """What all rules share."""

    def recipe(self) -> dict[str, Any]:
        """Return what one draw depends on, as plain JSON data; repeats are draws of their own."""
        return self.model_dump(mode="json", exclude={"repeats"})


class AllRule(SubsetRule):
    """Every stimulus, in the set's order.

    Attributes:
        splits: Only these splits; None takes all.
    """

    rule: Literal["all"] = "all"
    splits: list[str] | None = None

    def draw(self, population: Population, *, set_name: str, subset_name: str) -> list[int]:
        """Return the rows of the drawn stimuli."""
        if self.splits is None:
            return list(range(len(population.ids)))
        drawn = [rows for split in self.splits for rows in population.rows_by_class(split).values()]
        return sorted(row for rows in drawn for row in rows)


class StratifiedRule(SubsetRule):
    """A number of stimuli of each class, by split.

    Attributes:
        per_class: Stimuli of each class, by split.
        total: Instead: stimuli of all classes together, by split.
        allocation: How a total is shared among classes: equally, or in proportion to their sizes.
        when_short: If a class is smaller than its share: an error, or all that it has.
        replace: Draw with replacement; rows then come class by class, else in the set's order.
        nested: Draws of this set with equal seeds are nested whatever the subset's name, so that a
            smaller one is part of a larger one.
        seed: Of the draw.
        repeats: Number of subsets, named ``<subset>_s<seed>``; their seeds follow each other.
    """

    rule: Literal["stratified"] = "stratified"
    per_class: dict[str, NonNegativeInt] | None = None
    total: dict[str, NonNegativeInt] | None = None
    allocation: Literal["equal", "proportional"] = "equal"
    when_short: Literal["error", "take_all"] = "error"
    replace: bool = False
    nested: bool = False
    seed: Seed = 0
    repeats: int = Field(default=1, ge=1, le=MAX_REPEATS)

    @model_validator(mode="after")
    def _require_one_size(self) -> "StratifiedRule":
        if (self.per_class is None) == (self.total is None):
            raise UserError("a stratified subset needs either per_class or total, not both")
        return self

    def draw(self, population: Population, *, set_name: str, subset_name: str) -> list[int]:
        """Return the rows of the drawn stimuli.

        Raises:
            ValueError: If the set has no such split, or a class is too small.
        """
        stream = f"{set_name}/{'' if self.nested else subset_name}/{self.seed}"
        drawn: list[int] = []
        for split in self.per_class or self.total or {}:
            classes = population.rows_by_class(split)
            for (label, rows), share in zip(classes.items(), self._shares(split, classes), strict=True):
                wanted = self._fit(share, len(rows), f"class {label} of split {split}")
                drawn += self._draw_class(population.ids, rows, wanted, f"{stream}/{split}/{label}")
        return drawn if self.replace else sorted(drawn)

    def _shares(self, split: str, classes: Mapping[Any, Sequence[int]]) -> list[int]:
        if self.per_class is not None:
            return [self.per_class[split]] * len(classes)
        total = (self.total or {})[split]
        if self.allocation == "equal":
            return share_equally(total, len(classes))
        return share_in_proportion(total, [len(rows) for rows in classes.values()])

    def _fit(self, wanted: int, available: int, place: str) -> int:
        if wanted <= available or (self.replace and available):
            return wanted
        if self.when_short == "error":
            raise UserError(
                f"{place} has {available} stimuli, {wanted} were asked for; ask for fewer, or set"
                " when_short: take_all"
            )
        return available

    def _draw_class(self, ids: Sequence[str], rows: list[int], wanted: int, stream: str) -> list[int]:
        if self.replace:
            return [rows[hash_of(stream, number) % len(rows)] for number in range(wanted)]
        return [rows[position] for position in rank_by_seed([ids[row] for row in rows], stream)[:wanted]]


class PublishedPerClassRule(SubsetRule):
    """The ImageNet subsets of the similarity-consistency study, draw for draw.

    One generator for each split, seeded again; classes ascending; ``random.sample`` within each class; the
    order of the draw is kept. Subsets of different sizes are not nested.

    Attributes:
        per_class: Stimuli of each class.
        splits: Splits drawn from.
        seed: 42 in the study.

    Source: Ciernik et al. 2025, arXiv:2411.05561, public code; there a class that is too small is left out
        without a word, here it is an error.
    """

    rule: Literal["published_per_class"] = "published_per_class"
    per_class: int = Field(ge=1)
    splits: tuple[str, ...] = ("train",)
    seed: Seed = 42

    def draw(self, population: Population, *, set_name: str, subset_name: str) -> list[int]:
        """Return the rows of the drawn stimuli."""
        import random

        drawn: list[int] = []
        for split in self.splits:
            generator = random.Random(self.seed)  # noqa: S311  not for secrets
            for label, rows in population.rows_by_class(split).items():
                if self.per_class > len(rows):
                    raise UserError(
                        f"class {label} of split {split} has {len(rows)} stimuli, need {self.per_class}"
                    )
                drawn += generator.sample(rows, self.per_class)
        return drawn


class PublishedBootstrapRule(SubsetRule):
    """The study's bootstrap: ``random.choices`` with replacement within each class, one subset for each seed.

    Attributes:
        per_class: Draws from each class; 30 in the study.
        split: Split drawn from.
        repeats: Number of subsets, named ``<subset>_s<seed>``; 500 in the study.
        seed: Seed of the first; the next has one more.
    """

    rule: Literal["published_bootstrap"] = "published_bootstrap"
    per_class: int = Field(default=30, ge=1)
    split: str = "train"
    repeats: int = Field(default=1, ge=1, le=MAX_REPEATS)
    seed: Seed = 0

    def draw(self, population: Population, *, set_name: str, subset_name: str) -> list[int]:
        """Return the rows of the drawn stimuli."""
        import random

        generator = random.Random(self.seed)  # noqa: S311  not for secrets
        classes = population.rows_by_class(self.split).values()
        return [row for rows in classes for row in generator.choices(rows, k=self.per_class)]


class PublishedClassCapRule(SubsetRule):
    """The study's subsets of the other data sets: at most ceil(limit / classes) of each class.

    A split with at most ``limit`` stimuli is taken whole. One generator served all data sets of the study in
    ascending order of size, so the draw depends on those drawn before: name them in ``after`` to get the
    study's own rows.

    Attributes:
        limit: 10,000 in the study, 30,000 in its second variant.
        split: Split drawn from.
        seed: 42 in the study.
        after: Stimulus sets drawn before this one from the same generator, in this order.
    """

    rule: Literal["published_class_cap"] = "published_class_cap"
    limit: int = Field(default=10_000, ge=1)
    split: str = "train"
    seed: Seed = 42
    after: tuple[str, ...] = ()

    def draw(
        self, population: Population, *, set_name: str, subset_name: str, earlier: Sequence[Population] = ()
    ) -> list[int]:
        """Return the rows of the drawn stimuli, ascending."""
        import numpy as np

        generator = np.random.RandomState(self.seed)
        drawn: list[int] = []
        for each in (*earlier, population):
            classes = each.rows_by_class(self.split)
            drawn = [row for rows in classes.values() for row in rows]
            if len(drawn) <= self.limit:
                continue
            cap = -(-self.limit // len(classes))
            picks = [generator.choice(rows, min(len(rows), cap), replace=False) for rows in classes.values()]
            drawn = [int(row) for pick in picks for row in pick]
        return sorted(drawn)


def _with_default_rule(entry: Any) -> Any:
    return {"rule": "stratified", **entry} if isinstance(entry, Mapping) else entry


AnyRule = Annotated[
    AllRule | StratifiedRule | PublishedPerClassRule | PublishedBootstrapRule | PublishedClassCapRule,
    Field(discriminator="rule"),
    BeforeValidator(_with_default_rule),
]


def share_in_proportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Return whole shares of a total in proportion to sizes, by largest remainders (ties: the first).

    Example:
        >>> share_in_proportion(10, [50, 30, 5])
        [6, 3, 1]
    """
    whole = sum(sizes)
    shares = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda index: -(total * sizes[index] % whole))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def population_of(table: "pa.Table") -> Population:
    """Return ids, labels and splits of a stimulus set's table."""
    columns = (table[name].to_pylist() for name in ("stimulus_id", "label", "split"))
    return Population(*columns)

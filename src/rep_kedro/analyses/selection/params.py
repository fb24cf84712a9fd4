"""Parameters of the choice of a few networks, checked before any node runs."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Count, Seed, require_once

STUDY = "study"
"""Name of the networks trained here as a source of runs."""

Strategy = Literal["top", "random", "best_of_each_cluster", "random_of_each_cluster", "within_one_cluster"]
STRATEGIES: tuple[Strategy, ...] = (
    *("top", "random", "best_of_each_cluster", "random_of_each_cluster", "within_one_cluster"),
)


class RunsTable(Parameters):
    """Results of training runs that were made elsewhere, in a CSV file with a header.

    Attributes:
        file: The CSV file.
        run: Column with the run's name.
        group: Column with the method; criteria are compared within methods and over all.
        exclude: Column of true and false: runs that do not count; null if all count.
        criteria: Columns of criteria that need no labels, larger being better.
        performances: Columns of performances.
        settings: Columns of settings; runs that are equal in all of them are replicates.

    A column has one of these parts alone.
    """

    file: Path
    run: str
    group: str
    exclude: str | None = None
    criteria: tuple[str, ...] = Field(min_length=1)
    performances: tuple[str, ...] = Field(min_length=1)
    settings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _require_file(self) -> Self:
        if not self.file.is_file():
            raise UserError(f"no file {str(self.file)!r}; give the path of a CSV file")
        parts = (self.run, self.group, self.exclude, *self.criteria, *self.performances, *self.settings)
        require_once([column for column in parts if column is not None], "columns")
        return self


class CriteriaParams(Parameters):
    """How well criteria without labels choose networks.

    Attributes:
        runs_tables: Results made elsewhere, by name; they join the networks trained here.
        plateau_tolerance: A criterion within this share of the largest counts as equally large; the first
            value of the swept setting is chosen then.
        n_bootstrap: Resamples of the runs, for intervals; 0 leaves them out.
        confidence: Of the intervals.
        seed: Of the resamples.
    """

    runs_tables: dict[str, RunsTable] = {}
    plateau_tolerance: float = Field(default=0.0, ge=0, lt=1)
    n_bootstrap: Count = 1000
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: Seed = 0

    @field_validator("runs_tables")
    @classmethod
    def _leave_the_study_its_name(cls, tables: dict[str, RunsTable]) -> dict[str, RunsTable]:
        if STUDY in tables:
            raise UserError(f"{STUDY!r} is the name of the networks trained here; give the table another one")
        return tables


class ModelSelectionParams(Parameters):
    """Which sets of networks are judged together.

    Attributes:
        strategies: How sets are chosen. ``top``: the most accurate networks (on held-out training
            stimuli); ``random``: any; ``best_of_each_cluster``: the most accurate of each cluster;
            ``random_of_each_cluster``: one of each; ``within_one_cluster``: all from one cluster that has
            enough, each such cluster as likely.
        n_models: Sizes of the sets; a set of k by cluster needs the clustering into k clusters.
        n_draws: How many sets are drawn where chance decides; ``random`` and ``random_of_each_cluster`` draw
            no set twice, and take all sets where there are no more.
        clusters_of: Clusters of each stimulus set's ``own`` similarities, or of the ``mean`` over all.
        seed: Of the draws.
        criteria: How criteria without labels are judged.
    """

    strategies: tuple[Strategy, ...] = STRATEGIES
    n_models: tuple[Annotated[int, Field(ge=2)], ...] = (3,)
    n_draws: Count = Field(default=10, ge=1)
    clusters_of: Literal["own", "mean"] = "own"
    seed: Seed = 0
    criteria: CriteriaParams = CriteriaParams()

    @field_validator("strategies", "n_models")
    @classmethod
    def _each_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        doubled = [value for index, value in enumerate(values) if value in values[:index]]
        if doubled:
            raise UserError(f"listed twice: {doubled}")
        return values

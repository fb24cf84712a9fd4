"""Parameters of the choice of a few networks, checked before any node runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_model import PlainNumbers
from rep_kedro.parameter_rules import Count, Seed

Strategy = Literal["top", "random", "best_of_each_cluster", "random_of_each_cluster", "within_one_cluster"]
STRATEGIES: tuple[Strategy, ...] = (
    *("top", "random", "best_of_each_cluster", "random_of_each_cluster", "within_one_cluster"),
)


class ModelSelectionParams(PlainNumbers, BaseModel):
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
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategies: tuple[Strategy, ...] = STRATEGIES
    n_models: tuple[Annotated[int, Field(ge=2)], ...] = (3,)
    n_draws: Count = Field(default=10, ge=1)
    clusters_of: Literal["own", "mean"] = "own"
    seed: Seed = 0

    @field_validator("strategies", "n_models")
    @classmethod
    def _each_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        doubled = [value for index, value in enumerate(values) if value in values[:index]]
        if doubled:
            raise UserError(f"listed twice: {doubled}")
        return values

"""Parameters of the features pipeline, checked before any node runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.sources.specs import ModelEntry

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class FeaturesParams(BaseModel):
    """Which networks see which images, and what is kept.

    Attributes:
        stimulus_sets: Names of stimulus sets, or `all`.
        subset: Name of the subset of each set that is shown; its order is the order of the rows.
        networks: Names of networks trained here, or `all`.
        models: Further networks, by name: see `rep_kedro.models.sources.specs`.
        pooling: From activation to features, unless an entry says otherwise.
        batch_size: Images at a time. Part of no recipe: it changes memory and speed, and at most last digits.
        device: Where to compute, such as `cpu` or `cuda`; part of no recipe.
        threads: CPU threads of torch, part of no recipe; null for all. Small networks are fastest on one, and
            their last digits then do not depend on the machine's number of cores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stimulus_sets: Literal["all"] | list[str] = "all"
    subset: str = "analysis"
    networks: Literal["all"] | list[str] = "all"
    models: dict[ModelName, ModelEntry] = {}
    pooling: Pooling = "average"
    batch_size: PositiveInt = 256
    device: str = "cpu"
    threads: PositiveInt | None = None

"""Parameters of the features pipeline, checked before any node runs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.sources.choice import ModelChoice


class StimulusFacts(BaseModel):
    """What is known of a stimulus set before it is there.

    Attributes:
        title: Its name for people.
        group: Kind of images.
        n_train: Images of the training split.
        n_classes: Classes.
        n_analysis: Images that the networks are shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    group: str
    n_train: PositiveInt
    n_classes: PositiveInt
    n_analysis: PositiveInt


class FeaturesParams(ModelChoice):
    """Which networks see which images, and what is kept.

    Attributes:
        stimulus_facts: What is known of stimulus sets before they are there; read by `kedro plan` alone.
        stimulus_sets: Names of stimulus sets, or `all`.
        subset: Name of the subset of each set that is shown; its order is the order of the rows.
        networks: Names of networks trained here, or `all`.
        models, model_groups, groups: Networks from elsewhere, see `rep_kedro.models.sources.choice`.
        pooling: From activation to features, unless an entry says otherwise.
        batch_size: Images at a time. Part of no recipe: it changes memory and speed, and at most last digits.
        device: Where to compute, such as `cpu` or `cuda`; part of no recipe.
        threads: CPU threads of torch, part of no recipe; null for all. Small networks are fastest on one, and
            their last digits then do not depend on the machine's number of cores.
        decode_threads: Threads that decode images while the network works, part of no recipe.
        autocast: Compute in mixed precision with this type; faster on GPUs, and other numbers: part of the
            recipe where it is set.
        channels_last: Lay maps out with the channels innermost: faster convolutions, other last digits; part
            of the recipe where it is set.
    """

    stimulus_facts: dict[str, StimulusFacts] = Field(default={})
    stimulus_sets: Literal["all"] | list[str] = "all"
    subset: str = "analysis"
    networks: Literal["all"] | list[str] = "all"
    pooling: Pooling = "average"
    batch_size: PositiveInt = 256
    device: str = "cpu"
    threads: PositiveInt | None = None
    decode_threads: PositiveInt = 1
    autocast: Literal["bfloat16", "float16"] | None = None
    channels_last: bool = False

    def precision(self) -> dict[str, str | bool]:
        """Return what the recipe says of the way of computing: nothing unless it was changed."""
        said: dict[str, str | bool] = {}
        if self.autocast:
            said["autocast"] = self.autocast
        if self.channels_last:
            said["channels_last"] = True
        return said

"""Parameters of the diagnostics pipeline, checked before any node runs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from rep_kedro.analyses.projections.params import ProjectionParams, Share
from rep_kedro.parameter_model import PlainNumbers


class DiagnosticsParams(PlainNumbers, BaseModel):
    """Which layers are looked at, and with which constants.

    Attributes:
        stimulus_sets: Names of stimulus sets, or ``all`` that have features.
        models: Names of networks, or ``all`` that have features.
        subset: Name of the stimulus subset that the features were made of.
        deltas: Shares of variance that an intrinsic dimension must carry; a row of the table for each.
        rule: ``reach`` is the smallest number of components that carries the share; ``delve`` repeats the
            delve library, usually one less.
        rankme_epsilon: Added to each singular value share, 1e-7 in the paper; with many features it matters
            for collapsed representations.
        alpha_req_window: First and last index of the eigenvalues to which alpha-ReQ fits a power law, from 1;
            fewer are used where fewer are positive.
        border_rule: ``input``: the border is the first convolution fed by positions that see the whole image;
            ``smallest_path``: the first from which on even the smallest field over all paths exceeds the
            image, for networks with skip connections.
        tail_epsilon: Gain in accuracy below which a layer and all behind it are the tail of the network.
        batch_size: Images at a time; part of no recipe, it changes last digits at most.
        device: Where networks run, such as ``cpu`` or ``cuda``; part of no recipe.
        projections: Which networks are evaluated with projected layers; none by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stimulus_sets: Literal["all"] | list[str] = "all"
    models: Literal["all"] | list[str] = "all"
    subset: str = "analysis"
    deltas: tuple[Share, ...] = Field(default=(0.99,), min_length=1)
    rule: Literal["reach", "delve"] = "reach"
    rankme_epsilon: float = Field(default=1e-7, ge=0)
    alpha_req_window: tuple[PositiveInt, PositiveInt] = (11, 100)
    border_rule: Literal["input", "smallest_path"] = "input"
    tail_epsilon: Share = 0.01
    batch_size: PositiveInt = 256
    device: str = "cpu"
    projections: ProjectionParams = ProjectionParams()

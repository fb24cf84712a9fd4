"""Parameters of the diagnostics pipeline, checked before any node runs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from rep_kedro.analyses.projections.params import ProjectionParams, Share
from rep_kedro.errors import UserError, require_known
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Seed

MOST_IMAGES, MOST_VIEWS, MOST_STIMULI = 10_000, 100, 5_000


class LabelFreeParams(Parameters):
    """Settings of the measures of final layers that need no labels; recipes of spectra contain them.

    Attributes:
        n_images: Images of which views are drawn for LiDAR and alignment, evenly chosen; 0 for none.
        n_views: Of each image.
        views: Views of networks that were trained without views: settings as in `training.grids`, such as
            ``{crop_area: [0.4, 1.0]}``; null for none. Others have the views of their training.
        lidar_delta: Added to the diagonal of the scatter within images.
        n_clusters: Clusters of k-means for cluster learnability.
        n_neighbours: Neighbours whose clusters vote.
        n_stimuli: The most stimuli for cluster learnability and IdEst, evenly chosen; memory grows with its
            square.
        n_draws: Subsamples of each size for IdEst.
        seed: Of views, first centres and subsamples.
    """

    n_images: Annotated[int, Field(ge=0, le=MOST_IMAGES)] = 64
    n_views: Annotated[int, Field(ge=1, le=MOST_VIEWS)] = 4
    views: dict[str, Any] | None = None
    lidar_delta: float = Field(default=1e-4, ge=0)
    n_clusters: Annotated[int, Field(ge=2)] = 10
    n_neighbours: PositiveInt = 1
    n_stimuli: Annotated[int, Field(ge=2, le=MOST_STIMULI)] = 2_000
    n_draws: Annotated[int, Field(ge=1, le=100)] = 5
    seed: Seed = 0

    @field_validator("views")
    @classmethod
    def _require_views(cls, views: dict[str, Any] | None) -> dict[str, Any] | None:
        if views is not None:
            from rep_kedro.training.objectives.views import Views

            for name in views:
                require_known("setting of views", name, Views.model_fields)
            Views.model_validate(views)
        return views

    @model_validator(mode="after")
    def _require_enough(self) -> Self:
        if self.n_images == 1 or (self.n_images and self.n_views == 1):
            raise UserError(
                f"n_images {self.n_images}, n_views {self.n_views}: LiDAR and alignment compare at least"
                " 2 views of at least 2 images; raise them, or set n_images: 0 to leave both measures out"
            )
        for name in ("n_clusters", "n_neighbours"):
            if (value := getattr(self, name)) >= self.n_stimuli:
                raise UserError(f"{name} {value} must be below n_stimuli, {self.n_stimuli}")
        return self


class DiagnosticsParams(Parameters):
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
        label_free: Settings of measures that need no labels.
        projections: Which networks are evaluated with projected layers; none by default.
    """

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
    label_free: LabelFreeParams = LabelFreeParams()
    projections: ProjectionParams = ProjectionParams()

    @field_validator("alpha_req_window")
    @classmethod
    def _require_window(cls, window: tuple[int, int]) -> tuple[int, int]:
        if window[0] >= window[1]:
            raise UserError(
                f"the window ends at {window[1]}, which is not after {window[0]}, where it begins"
            )
        return window

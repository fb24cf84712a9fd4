"""Parameters of the reporting pipeline, checked before any node runs."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from rep_kedro.errors import UserError
from rep_kedro.measures import get_measure
from rep_kedro.parameter_model import Parameters


class ReportingParams(Parameters):
    """What the report speaks of.

    Attributes:
        measure: Id of the similarity measure of figures and sentences; larger must mean more similar.
        stimulus_set: Images of the figures that follow the layers; None: the first that was analysed.
        further_measures: Measures that readers can switch figures to; each adds all figures of a measure.
        further_stimulus_sets: Images that readers can switch the figures that follow the layers to.
        delta: Threshold of saturation that is shown.
        n_heat_maps: At most this many stimulus sets have a heat map of their own, in addition to the mean.
        metrics: Training metrics to draw, in this order; empty: all.
        n_extreme_pairs: How many most and least similar pairs are listed.
        spread_of: What mean and standard deviation over stimulus sets are of: ``similarity``, or ``angle``
            for its arccos, in which values near 1 are less crowded.
        set_pair_maps: Kinds of network pairs, such as ``[simclr, supervised]``, whose consistency is drawn
            for each two stimulus sets; empty: the objectives with the highest and the lowest median.
        n_run_rows: Longer tables are cut at so many rows, and say so.
    """

    measure: str
    stimulus_set: str | None = None
    further_measures: list[str] = []
    further_stimulus_sets: list[str] = []
    delta: Annotated[float, Field(gt=0, le=1)] = 0.99
    n_heat_maps: int = Field(default=5, ge=1)
    metrics: list[str] = []
    n_extreme_pairs: int = Field(default=8, ge=1)
    spread_of: Literal["similarity", "angle"] = "similarity"
    set_pair_maps: list[tuple[str, str]] = []
    n_run_rows: int = Field(default=400, ge=1)

    @field_validator("further_measures")
    @classmethod
    def _similarities(cls, measure_ids: list[str]) -> list[str]:
        return [cls._similarity(measure_id) for measure_id in measure_ids]

    @field_validator("measure")
    @classmethod
    def _similarity(cls, measure_id: str) -> str:
        measure = get_measure(measure_id)
        if not (measure.larger_is_more_similar and measure.symmetric):
            raise UserError(
                f"the report orders networks by similarity, but {measure_id!r} is a distance or directed; "
                "choose a symmetric measure that grows with similarity"
            )
        return measure_id

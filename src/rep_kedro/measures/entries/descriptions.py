"""Measures that compare descriptions of single models, blind to which stimulus is which."""

from math import exp, inf
from typing import Any

from rep_kedro.measures.families.descriptions import compare
from rep_kedro.measures.measure import Family, FewestStimuli, Invariance, Measure

ANY_ORDER = frozenset({Invariance.ROTATION, Invariance.UNIT_PERMUTATION, Invariance.STIMULUS_PERMUTATION})
LANDMARKS_AT_PLACES = ANY_ORDER - {Invariance.STIMULUS_PERMUTATION}
NEIGHBOURS_OF_HEAT = 5
FEWEST_OF_LANDMARKS = 8
MAX_STIMULI_HEAT = 5000

SURVEY = "as in Klabunde et al. 2025, doi:10.1145/3728458"
WANG = f"Wang et al. 2020, {SURVEY}"


def _refuse_many_stimuli(n_stimuli: int, n_features_a: int, n_features_b: int) -> str | None:
    if n_stimuli > MAX_STIMULI_HEAT:
        return (
            f"imd takes the whole spectrum of a graph of the stimuli, of at most {MAX_STIMULI_HEAT},"
            f" got {n_stimuli}; compare a subset"
        )
    return None


def _entry(measure_id: str, title: str, source: str, *, description: str, **facts: Any) -> Measure:
    """Return a measure; ``facts`` are fields of it, a distance without bound by default."""
    usual = {"value_range": (0.0, inf), "invariances": ANY_ORDER}
    return Measure(
        id=measure_id,
        title=title,
        family=Family.DESCRIPTION,
        runner=compare,
        source=source,
        larger_is_more_similar=False,
        parameters={"description": description},
        **{**usual, **facts},
    )


ENTRIES = (
    _entry(
        "magnitude_difference",
        "Difference of magnitude",
        WANG,
        description="magnitude",
        formula="| ‖mean x‖ − ‖mean y‖ |",
    ),
    _entry(
        "concentricity_difference",
        "Difference of concentricity",
        WANG,
        description="concentricity",
        formula="difference of the mean cosines between a stimulus and the mean stimulus",
        value_range=(0.0, 2.0),
        invariances=ANY_ORDER | {Invariance.ISOTROPIC_SCALING},
        averages_cosines=True,
    ),
    _entry(
        "uniformity_difference",
        "Difference of uniformity",
        f"Wang & Isola 2020, arXiv:2005.10242, {SURVEY}",
        description="uniformity",
        formula="difference of log mean over i, j of exp(−2 |x_i − x_j|²)",
        invariances=ANY_ORDER | {Invariance.TRANSLATION},
    ),
    _entry(
        "uniformity_difference_directions",
        "Difference of uniformity of directions",
        "Wang & Isola 2020, arXiv:2005.10242, section 4.1.2",
        description="uniformity_of_directions",
        formula="as uniformity_difference, of x_i / |x_i|",
        value_range=(0.0, 8.0),
        invariances=ANY_ORDER | {Invariance.ISOTROPIC_SCALING, Invariance.ROW_SCALING},
    ),
    _entry(
        "imd",
        "Intrinsic multi-scale distance",
        "Tsitsulin et al. 2020, arXiv:1905.11141",
        description="heat_trace",
        formula="max over t in [0.1, 10] of exp(−2(t + 1/t)) |h(t) − h'(t)|, h(t) = mean over eigenvalues "
        "λ of exp(−tλ) of the Laplacian of the graph of 5 nearest neighbours",
        value_range=(0.0, exp(-4)),
        invariances=ANY_ORDER | {Invariance.ISOTROPIC_SCALING, Invariance.TRANSLATION},
        fewest_stimuli=FewestStimuli(1 + NEIGHBOURS_OF_HEAT),
        refusal=_refuse_many_stimuli,
    ),
    _entry(
        "geometry_score",
        "Geometry score",
        "Khrulkov & Oseledets 2018, arXiv:1802.02664",
        description="living_times",
        formula="sum over k = 0, ..., 99 of (T(k) − T'(k))², T(k) = mean, over 20 draws of 64 landmarks (at "
        "most half of the stimuli), of the share of [0, 1/128 of the largest distance from a landmark] for "
        "which the witness complex has k loops",
        value_range=(0.0, 2.0),
        invariances=LANDMARKS_AT_PLACES | {Invariance.ISOTROPIC_SCALING, Invariance.TRANSLATION},
        fewest_stimuli=FewestStimuli(FEWEST_OF_LANDMARKS),
    ),
)

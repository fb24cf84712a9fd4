"""All measures by id: one dict, put together from one literal list for each family."""

from difflib import get_close_matches

from rep_kedro.measures.entries import cka, functional, linear_maps, matching, neighbours, rsa
from rep_kedro.measures.measure import Measure

ENTRIES: tuple[Measure, ...] = (
    *cka.ENTRIES,
    *rsa.ENTRIES,
    *linear_maps.ENTRIES,
    *matching.ENTRIES,
    *neighbours.ENTRIES,
    *functional.ENTRIES,
)
MEASURES: dict[str, Measure] = {measure.id: measure for measure in ENTRIES}


def get_measure(measure_id: str) -> Measure:
    """Look up a measure by its id.

    Raises:
        ValueError: If the id is unknown; the message offers the ids that look like it, or all.
    """
    if measure_id in MEASURES:
        return MEASURES[measure_id]
    close = get_close_matches(measure_id, MEASURES, n=4, cutoff=0.6)
    hint = f"did you mean {', '.join(close)}" if close else f"known: {', '.join(sorted(MEASURES))}"
    raise ValueError(f"unknown similarity measure {measure_id!r}; {hint}")

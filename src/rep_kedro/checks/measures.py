"""Does the report speak of a measure that the run compares?"""

from collections.abc import Mapping
from typing import Any

from rep_kedro.checks.configuration import Loader, find_origin

REPORTED = ("reporting", "measure")


def require_compared_measure(parameters: Mapping[str, Any], given: Mapping[str, Any], loader: Loader) -> None:
    """Refuse a measure of the report that is none of the measures of the similarity pipeline.

    Args:
        parameters: Valid parameters, nested.
        given: Those of the command line.
        loader: Tells where a parameter stands.

    Raises:
        ValueError: If it is none; the message has its place and the measures there are.
    """
    reported, compared = parameters["reporting"]["measure"], parameters["similarity"]["measures"]
    if reported in compared:
        return
    inner = given.get("reporting")
    is_given = isinstance(inner, Mapping) and "measure" in inner
    origin = "--params" if is_given else find_origin(loader, REPORTED)
    where = f" in {origin}" if origin else ""
    raise ValueError(
        f"parameter reporting.measure{where}: {reported!r} is not among similarity.measures; choose one of "
        f"{', '.join(compared)}, or add it there"
    )

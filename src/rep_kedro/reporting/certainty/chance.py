"""How many of several tests found something, among those that could."""

import pandas as pd

from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.reporting.page import write_number


def chance_in_words(rows: pd.DataFrame, tests: str, chance: str) -> list[str]:
    """Count the values that are larger than chance; of tests that could find nothing say that instead.

    Args:
        rows: ``p_adjusted`` and ``p_smallest``, the smallest corrected p-value that each could have had.
        tests: What is tested, in the plural.
        chance: What they are larger than.
    """
    tested, able = split_tests(rows)
    sentences = []
    if len(able):
        n_beyond = int((able["p_adjusted"] <= LEVEL).sum())
        sentences.append(
            f"{n_beyond:,} of {len(able):,} {tests} {'is' if n_beyond == 1 else 'are'} larger than {chance} "
            f"(p ≤ {LEVEL}, corrected)."
        )
    return sentences + hopeless_in_words(tested, able, tests)


def split_tests(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that were tested, and those of them whose p-value could have been small enough."""
    tested = rows.dropna(subset=["p_adjusted"])
    return tested, tested[tested["p_smallest"] <= LEVEL]


def hopeless_in_words(tested: pd.DataFrame, able: pd.DataFrame, tests: str) -> list[str]:
    """Say how many tests could have found nothing, whatever the data; nothing where all could."""
    n_unable = len(tested) - len(able)
    if not n_unable:
        return []
    unable = tested.drop(able.index)
    least = write_number(unable["p_smallest"].min(), digits=3)
    return [
        f"Whether {n_unable:,} of {len(tested):,} {tests} exceed chance could not be tested: with so few "
        f"permutations or networks for so many tests, no corrected p-value can reach {LEVEL} (smallest "
        f"possible: {least})."
    ]

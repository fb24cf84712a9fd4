"""Write the table of docs/validation.md: every feature measure beside every fact, in Markdown.

python -m tests.real.tabulate_facts > table.md
"""

import sys
from itertools import combinations, product

import numpy as np
from tests.real.similarity_facts import (
    FEATURE_MEASURES,
    SEEDS,
    Alikeness,
    compare_all,
    count_late_steps,
    count_ordered_trajectories,
    is_mix_nearer_to_adversarial,
    list_cifar10_networks,
    read_features,
    separate_depths,
    separate_objectives,
    separate_recipes,
    weigh_batch_order,
)

from rep_kedro.measures import Comparison

N_STIMULI = 1000
COLUMNS = (
    "measure",
    "seeds",
    "others",
    "recipe",
    "depth",
    "trajectory",
    "late",
    "order",
    "objectives",
    "mix",
)
CLEARLY = 0.94  # what a share must reach for the fact to hold
NOTABLE = 3.0  # standard deviations
HEADER = (f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|")


def write_row(measure_id: str, names: list[str], values: np.ndarray) -> str:
    """Return one row of the table."""
    alike, mean = Alikeness(measure_id, names, values), (values + values.T) / 2
    index = [names.index(name) for name in SEEDS]
    others = [i for i, name in enumerate(names) if not name.startswith("tiny10")]
    inside = np.mean([mean[pair] for pair in combinations(index, 2)])
    outside = np.mean([mean[pair] for pair in product(index, others)])
    cells = [
        f"`{measure_id}`",
        *(_show(value, True) for value in (inside, outside)),
        *(_show(share, share >= CLEARLY) for share in (separate_recipes(alike), separate_depths(alike))),
        *(
            _show(count, count == 2, "d")
            for count in (count_ordered_trajectories(alike), count_late_steps(alike))
        ),
        _show(weight := weigh_batch_order(alike), abs(weight) < NOTABLE, "+.1f"),
        _show(share := separate_objectives(alike), share >= CLEARLY),
        "yes" if is_mix_nearer_to_adversarial(alike) else "**no**",
    ]
    return f"| {' | '.join(cells)} |"


def write_tables(names: list[str], comparisons: dict[str, dict[str, Comparison]]) -> str:
    """Return one table for each layer."""
    return "\n\n".join(
        "\n".join([*HEADER, *(write_row(name, names, by_measure[name].values) for name in FEATURE_MEASURES)])
        for by_measure in comparisons.values()
    )


def _show(value: float, holds: bool, form: str = ".3f") -> str:
    """Return a number; bold where the fact does not hold."""
    text = "undefined" if np.isnan(value) else format(value, form)
    return text if holds else f"**{text}**"


if __name__ == "__main__":
    chosen = list_cifar10_networks()
    features = read_features(chosen, N_STIMULI)
    compared = {layer: compare_all(x, FEATURE_MEASURES) for layer, x in features.items()}
    sys.stdout.write(write_tables(chosen, compared) + "\n")

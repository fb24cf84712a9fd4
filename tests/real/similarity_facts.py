"""What is known beforehand of how alike the published CIFAR-10 networks are, asked of a similarity matrix.

Each fact is a number that says how far it holds, so that measures can be set side by side.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, product

import numpy as np
import torch
from tests.real.published import list_entries, load_published, read_cifar10, read_pooled

from rep_kedro.measures import MEASURES, Comparison, compare_models

SEEDS = [f"tiny10_in{seed}_gn{seed}" for seed in range(10)]
SAME_ORDER = ["tiny10_in0_gn0", "tiny10_in1_gn0", "tiny10_in2_gn0"]
STEPS = ["_step10000", "_step50000", "_step100000", ""]
DEPTHS = [f"akamaster_resnet{depth}" for depth in (20, 32, 44, 56)]
ADVERSARIAL = ["cnn_a_adv", "cnn_a_adv4", "cnn_a_mix"]
PROVABLY_ROBUST = "oval_wide"  # of the same architecture as the adversarially trained ones
MIDDLE = {
    **dict.fromkeys(["tiny10", "nbn_tiny10"], "relu5"),
    **{f"resnet{6 * n + 2}_a": f"layer2.{n - 1}.relu2" for n in (3, 5, 7, 9)},
    **{"oval_deep": "5", "lenet_keras": "relu_2", "autoencoder": "encoder.1"},
}
MAX_STIMULI_TAU = 300  # of the measures that compare every two pairs of stimuli
MEMORY_BYTES = 1_000_000_000
FEATURE_MEASURES = [name for name, measure in MEASURES.items() if measure.compares == "features"]


def list_cifar10_networks() -> list[str]:
    return [name for name, entry in list_entries().items() if entry["trained_on"] == "cifar10"]


def read_features(names: Sequence[str], n_stimuli: int) -> dict[str, list[torch.Tensor]]:
    """Return pooled features of the last kept layer and of one in the middle, for the first test images."""
    pixels = read_cifar10()[0][:n_stimuli]
    features: dict[str, list[torch.Tensor]] = {"last": [], "middle": []}
    for name in names:
        model = load_published(name)
        layers = [MIDDLE.get(str(list_entries()[name]["architecture"]), "3"), model.layers[-1]]
        middle, last = read_pooled(model, layers, pixels)
        features["middle"].append(middle)
        features["last"].append(last)
    return features


def compare_all(features: list[torch.Tensor], measures: Iterable[str]) -> dict[str, Comparison]:
    """Compare networks under many measures."""
    slow = [name for name in measures if name.endswith("tau_a")]
    quick = [name for name in measures if name not in slow]
    few = [x[:MAX_STIMULI_TAU] for x in features]
    return {
        **dict(compare_models(features, quick, memory_bytes=MEMORY_BYTES)),
        **dict(compare_models(few, slow, memory_bytes=MEMORY_BYTES)),
    }


class Alikeness:
    """How alike two networks are: larger is more alike, both directions averaged.

    Args:
        measure_id: Of the registry.
        names: Of the networks, in the order of the matrix.
        values: Similarity or distance matrix.
    """

    def __init__(self, measure_id: str, names: Sequence[str], values: np.ndarray) -> None:
        self.names = list(names)
        self._index = {name: i for i, name in enumerate(names)}
        sign = 1 if MEASURES[measure_id].larger_is_more_similar else -1
        self._alike = sign * (values + values.T) / 2

    def of(self, a: str, b: str) -> float:
        return float(self._alike[self._index[a], self._index[b]])

    def of_pairs(self, pairs: Iterable[tuple[str, str]]) -> np.ndarray:
        return np.array([self.of(a, b) for a, b in pairs])


def separate_recipes(alike: Alikeness) -> float:
    """Share of cases in which two seeds of one recipe are more alike than a seed and another recipe."""
    others = [name for name in alike.names if not name.startswith("tiny10")]
    return _exceedance(alike.of_pairs(combinations(SEEDS, 2)), alike.of_pairs(product(SEEDS, others)))


def separate_depths(alike: Alikeness) -> float:
    """The same for ResNets that differ in depth alone."""
    others = [name for name in alike.names if name not in DEPTHS]
    return _exceedance(alike.of_pairs(combinations(DEPTHS, 2)), alike.of_pairs(product(DEPTHS, others)))


def count_ordered_trajectories(alike: Alikeness) -> int:
    """Of two networks, in how many each later step is more like the trained network than the one before."""
    count = 0
    for seed in (0, 1):
        first, second, third, end = (f"tiny10_in{seed}_gn0{step}" for step in STEPS)
        count += alike.of(first, end) < alike.of(second, end) < alike.of(third, end)
    return count


def count_late_steps(alike: Alikeness) -> int:
    """Of two networks, how many are nearer to themselves shortly before the end than any two seeds."""
    seeds = alike.of_pairs(combinations(SEEDS, 2)).max()
    return sum(alike.of(f"tiny10_in{k}_gn0_step100000", f"tiny10_in{k}_gn0") > seeds for k in (0, 1))


def weigh_batch_order(alike: Alikeness) -> float:
    """By how many standard deviations networks of one batch order are more alike than others."""
    seeds = alike.of_pairs(combinations(SEEDS, 2))
    spread = seeds.std()
    same = alike.of_pairs(combinations(SAME_ORDER, 2)).mean()
    return float((same - seeds.mean()) / spread) if spread > 0 else np.nan


def separate_objectives(alike: Alikeness) -> float:
    """Share of cases in which two adversarial trainings are more alike than one and another architecture."""
    pairs = alike.of_pairs(combinations(ADVERSARIAL, 2))
    return _exceedance(pairs, alike.of_pairs(product(ADVERSARIAL, SEEDS + DEPTHS)))


def is_mix_nearer_to_adversarial(alike: Alikeness) -> bool:
    """Whether mixed training is nearer to adversarial than to provably robust training."""
    return alike.of("cnn_a_mix", "cnn_a_adv") > alike.of("cnn_a_mix", PROVABLY_ROBUST)


def _exceedance(inside: np.ndarray, outside: np.ndarray) -> float:
    """Share of pairs of values in which the inner one is larger; equal values count half."""
    if np.isnan(inside).any() or np.isnan(outside).any():
        return float("nan")
    return float(((inside[:, None] > outside).mean() + (inside[:, None] >= outside).mean()) / 2)

"""Made-up tables of any size: one network or sixty-four, one stimulus set or twenty-three."""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd
from tests.reporting.synthetic_study import describe_fit

MEASURE = "cka_linear_debiased"
OBJECTIVES = ("image_text", "self_supervised", "supervised")
ARCHITECTURES = (
    "ViT-B",
    "ViT-L",
    "ResNet",
    "ConvNeXt",
    "VGG",
    "EfficientNet",
    "BEiT",
    "DeiT",
    "XCiT",
    "Swin",
)
TRAINED_ON = ("imagenet1k", "imagenet21k", "laion2b", "wit400m", "webli", None)
SIZES = (50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class FakeCurves:
    """Similarities by number of stimuli without a file."""

    key: str
    values: np.ndarray
    meta: dict = field(default_factory=dict)

    digest = "0" * 32

    @property
    def recipe(self):
        return {}

    @property
    def reference(self):
        return {"key": self.key, "digest": self.digest}

    def tensor(self, name):
        assert name == "similarity"
        return self.values


def make_curves(sets, measures=(MEASURE,), n_pairs=120, sizes=SIZES):
    rng = np.random.default_rng(3)
    handles = {}
    for stimulus_set in sets:
        for measure in measures:
            truth = rng.uniform(0, 0.9, n_pairs)
            noise = rng.normal(size=(3, len(sizes), n_pairs)) / np.sqrt(np.array(sizes))[:, None]
            key = f"{stimulus_set}/{measure}"
            handles[key] = FakeCurves(key, truth + noise, {"sizes": list(sizes), "labels": []})
    return handles


def make_scaled_tables(n_models, n_sets, n_undefined=0):
    """Return tables by name: model_cards, similarities, probe_results, prediction_agreement."""
    rng = np.random.default_rng(5)
    cards = make_scaled_cards(n_models, rng)
    similarities = make_scaled_similarities(cards, n_sets, rng)
    if n_undefined:
        similarities.loc[similarities.index[:n_undefined], "similarity"] = np.nan
    probes = make_scaled_probes(cards, n_sets, rng)
    return {
        "model_cards": cards,
        "similarities": similarities,
        "probe_results": probes,
        "prediction_agreement": make_scaled_agreement(similarities, probes, rng),
    }


def make_scaled_cards(n_models, rng):
    rows = []
    for index in range(n_models):
        rows.append(
            {
                "model": f"{ARCHITECTURES[index % 10]}_{OBJECTIVES[index % 3]}_{index:02d}",
                "source": "timm",
                "architecture": ARCHITECTURES[index % 10],
                "objective": OBJECTIVES[index % 3],
                "seed": None,
                "trained_on": TRAINED_ON[(index // 3) % 6],
                "n_parameters": int(10 ** rng.uniform(6.6, 9.2)),
                "n_flops": 10**9,
                "n_layers": 12,
                "feature_width": 768,
                "test_accuracy": np.nan,
            }
        )
    return pd.DataFrame(rows)


def make_scaled_similarities(cards, n_sets, rng):
    base = {name: rng.normal(size=8) for name in OBJECTIVES}
    latent = np.stack([base[o] + 0.8 * rng.normal(size=8) for o in cards.objective])
    rows = []
    for place in range(n_sets):
        shifted = latent + rng.uniform(0.2, 1.6) * rng.normal(size=latent.shape)
        unit = shifted / np.linalg.norm(shifted, axis=1, keepdims=True)
        values = np.clip(unit @ unit.T, -0.05, 1.0)
        for i, j in combinations(range(len(cards)), 2):
            sides = {
                f"{trait}_{side}": cards[trait][index]
                for trait in ("objective", "architecture")
                for side, index in (("a", i), ("b", j))
            }
            rows.append(
                {
                    "stimulus_set": f"vtab_set_{place:02d}",
                    "measure": MEASURE,
                    "model_a": cards.model[i],
                    "model_b": cards.model[j],
                    "similarity": values[i, j],
                    "reason": "",
                    **sides,
                }
            )
    return pd.DataFrame(rows, columns=SIMILARITY_COLUMNS)


SIMILARITY_COLUMNS = [
    *("stimulus_set", "measure", "model_a", "model_b", "similarity", "reason", "objective_a", "objective_b"),
    *("architecture_a", "architecture_b"),
]


def make_scaled_probes(cards, n_sets, rng):
    rows = [
        {
            "stimulus_set": f"vtab_set_{place:02d}",
            "model": model,
            "layer": "pool",
            "depth": 0,
            "label": "label",
            "is_final": True,
            "train_accuracy": 0.9,
            "validation_accuracy": rng.uniform(0.4, 0.95),
            "test_low": 0.3,
            "test_high": 1.0,
            "test_accuracy": rng.uniform(0.4, 0.95),
            **describe_fit(0.7),
            "seed": 0,
            "n_train": 1000,
            "n_test": 500,
            "n_classes": 10,
        }
        for place in range(n_sets)
        for model in cards.model
    ]
    return pd.DataFrame(rows)


def make_scaled_agreement(similarities, probes, rng):
    accuracy = probes.set_index(["stimulus_set", "model"])["test_accuracy"]
    rows = []
    for row in similarities.itertuples():
        a, b = accuracy[row.stimulus_set, row.model_a], accuracy[row.stimulus_set, row.model_b]
        low, high = abs(a - b), min(1.0, 2 - a - b)
        rows.append(
            {
                "stimulus_set": row.stimulus_set,
                "model_a": row.model_a,
                "model_b": row.model_b,
                "n_test": 500,
                "accuracy_a": a,
                "accuracy_b": b,
                "disagreement": low + (high - low) * rng.uniform(0.1, 0.6),
                "disagreement_low_bound": low,
                "disagreement_high_bound": high,
                "error_consistency": np.clip(0.6 * row.similarity + 0.1 * rng.normal(), -1, 1),
                "jensen_shannon": rng.uniform(0, 0.5),
                "reason": "",
                **{
                    f"{trait}_{side}": getattr(row, f"{trait}_{side}")
                    for trait in ("objective", "architecture")
                    for side in "ab"
                },
            }
        )
    return pd.DataFrame(rows)

"""Layers of made-up networks: matrices over layers, and their best matches, for any number of networks."""

from itertools import combinations

import numpy as np

from rep_kedro.schemas.layer_similarity import (
    BEST_LAYER_MATCH,
    LAYER_SIMILARITIES,
    SHARED_REPRESENTATIONS,
)

MEASURE = "cka_linear_debiased"
DRAWS = {"n_stimuli": 240, "n_permutations": 199, "n_bootstrap": 200}


def make_layer_values(n_layers_of, seed=0):
    """Return values and the meta of a matrix; layers of one network change slowly.

    Args:
        n_layers_of: Names of the layers by network.
        seed: Of the values.
    """
    rng = np.random.default_rng(seed)
    layers = [
        (model, name, depth) for model, names in n_layers_of.items() for depth, name in enumerate(names)
    ]
    paths = []
    for names in n_layers_of.values():
        steps = rng.normal(size=(len(names), 30)) * np.array([1.0, *[0.5] * (len(names) - 1)])[:, None]
        paths.append(np.cumsum(steps, axis=0) + 0.8)
    unit = np.concatenate(paths)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    values = unit @ unit.T
    values = (values + values.T) / 2
    np.fill_diagonal(values, 1.0)
    models, names, depths = (list(part) for part in zip(*layers, strict=True))
    return values, {"models": models, "layers": names, "depths": depths, "compare": "both"}


def make_layer_tables(members):
    """Return the three tables of layers.

    Args:
        members: Values and meta by stimulus set.
    """
    pairs, best, shared = [], [], []
    for stimulus_set, (values, meta) in members.items():
        layers = list(zip(meta["models"], meta["layers"], meta["depths"], strict=True))
        start = {"stimulus_set": stimulus_set, "measure": MEASURE}
        for i, j in combinations(range(len(layers)), 2):
            sides = {
                f"{what}_{side}": value
                for side, layer in (("a", layers[i]), ("b", layers[j]))
                for what, value in zip(("model", "layer", "depth"), layer, strict=True)
            }
            pairs.append({**start, **sides, "similarity": values[i, j], "reason": ""})
        models = np.array(meta["models"])
        names = list(dict.fromkeys(meta["models"]))
        for i, (model, layer, depth) in enumerate(layers):
            for other in names:
                if other == model:
                    continue
                columns = np.flatnonzero(models == other)
                j = columns[values[i, columns].argmax()]
                best.append(
                    {
                        **start,
                        "model": model,
                        "layer": layer,
                        "depth": depth,
                        "other_model": other,
                        "best_layer": layers[j][1],
                        "best_depth": layers[j][2],
                        "deepest": len(columns) - 1,
                        **_chance(values[i, j], len(columns), len(layers) * (len(names) - 1)),
                    }
                )
        for a, b in combinations(names, 2):
            rows, columns = np.flatnonzero(models == a), np.flatnonzero(models == b)
            block = values[np.ix_(rows, columns)]
            i, j = np.unravel_index(block.argmax(), block.shape)
            shared.append(
                {
                    **start,
                    "model_a": a,
                    "model_b": b,
                    "layer_a": layers[rows[i]][1],
                    "depth_a": layers[rows[i]][2],
                    "layer_b": layers[columns[j]][1],
                    "depth_b": layers[columns[j]][2],
                    **_chance(block.max(), block.size, len(names) * (len(names) - 1) // 2),
                }
            )
    return {
        "layer_similarities": LAYER_SIMILARITIES.frame(pairs),
        "best_layer_match": BEST_LAYER_MATCH.frame(best),
        "shared_representations": SHARED_REPRESENTATIONS.frame(shared),
    }


def _chance(value, n_compared, n_tests):
    is_above = value > 0.3
    return {
        "similarity": float(value),
        "similarity_low": float(value) - 0.05,
        "similarity_high": min(1.0, float(value) + 0.04),
        "support": 0.97 if is_above else 0.5,
        "p_value": 0.005 if is_above else 0.4,
        "p_adjusted": 0.005 if is_above else 1.0,
        "p_smallest": 0.005,
        "n_tests": n_tests,
        "threshold": 0.1,
        "calibrated": max(0.0, (float(value) - 0.1) / 0.9),
        "n_compared": n_compared,
        **DRAWS,
        "reason": "",
    }

"""A made-up study with the shape of a real one: sixteen networks, three stimulus sets, four measures.

Seeded; similarities come from a latent position per network, so that groups, noise and gaps look plausible.
"""

from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np
import pandas as pd
from tests.reporting.synthetic_layers import make_layer_tables, make_layer_values

from rep_kedro.analyses.consistency.anchors import compare_anchors
from rep_kedro.analyses.consistency.consistency import compute_consistency
from rep_kedro.analyses.consistency.measure_agreement import compare_measures
from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.diagnostics.tails import compute_layer_tails
from rep_kedro.analyses.predictions.performance_gaps import compute_performance_gaps
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.analyses.selection.criteria import judge_criteria
from rep_kedro.analyses.selection.params import ModelSelectionParams
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.analyses.stitching.tables import summarise_results
from rep_kedro.reporting.pairs import with_kinds
from rep_kedro.schemas.columns import Kind
from rep_kedro.schemas.diagnostics import LABEL_FREE_MEASURES
from rep_kedro.schemas.ingest import STIMULUS_CARDS
from rep_kedro.schemas.probing import LAYER_PROBE_RESULTS
from rep_kedro.schemas.stitching import STITCH_PATHS, STITCHING_RESULTS
from rep_kedro.schemas.training import NETWORK_SETTINGS

ARCHITECTURES = {
    "cnn": ["conv1", "conv2", "conv3", "conv4"],
    "resnet": ["stem", "stage1", "stage2", "stage3", "pool"],
}
OBJECTIVES = ("supervised", "simclr", "vicreg", "untrained")
STIMULUS_SETS = ("digits", "photograph_patches", "shapes")
MEASURES = (
    "cka_linear_debiased",
    "cka_linear_biased",
    "cka_rbf_median_0.4_debiased",
    "rsa_correlation_spearman",
)
WIDTHS = {
    "conv1": 16,
    "conv2": 32,
    "conv3": 64,
    "conv4": 64,
    "stem": 16,
    "stage1": 16,
    "stage2": 32,
    "stage3": 64,
    "pool": 64,
}
N_EPOCHS = 12
MOST_WITH_LAYERS = 34  # networks whose layers are compared
QUICK = ConsistencyParams(
    categories=["objective", "architecture"],
    anchors=["cnn_supervised_s0", "resnet_simclr_s0"],
    n_bootstrap=50,
    n_permutations=99,
)


@dataclass(frozen=True)
class FakeMatrix:
    """A labelled matrix without a file."""

    values: np.ndarray
    labels: tuple[str, ...]
    reasons: dict = field(default_factory=dict)
    meta: dict = field(default_factory=dict)


@dataclass(frozen=True)
class FakeHandle:
    """A collection's member without a file."""

    key: str
    recipe: dict
    content: FakeMatrix | None = None
    meta: dict = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return f"{abs(hash(self.key)) % 16**8:08x}" * 4

    @property
    def reference(self) -> dict:
        return {"key": self.key, "digest": self.digest}

    def matrix(self) -> FakeMatrix:
        assert self.content is not None
        return self.content


@dataclass(frozen=True)
class Study:
    """Matrices and tables of one made-up run; tables by attribute."""

    matrices: dict[str, FakeHandle]
    tables: dict[str, pd.DataFrame]
    layer_matrices: dict[str, FakeHandle] = field(default_factory=dict)

    def __getattr__(self, name: str) -> pd.DataFrame:
        return self.tables[name]


def make_stimulus_cards() -> pd.DataFrame:
    """Return cards of the stimulus sets; only title and group matter here."""
    counts = {column.name: 0 for column in STIMULUS_CARDS.columns if column.kind is Kind.INTEGER}
    return STIMULUS_CARDS.frame(
        {**counts, "stimulus_set": name, "group": group, "source": "digits", "sha256": "0"}
        for name, group in zip(STIMULUS_SETS, ("drawn", "natural", "drawn"), strict=True)
    )


def make_study(seed: int = 0) -> Study:
    rng = np.random.default_rng(seed)
    cards = make_cards(rng)
    matrices = make_matrices(cards, rng)
    similarities = make_similarities(matrices, cards)
    consistency = pd.concat(
        [make_consistency(similarities), make_anchored_consistency(similarities, cards)], ignore_index=True
    )
    probes = make_probes(cards, rng)
    layers = make_layer_members()
    fields = make_receptive_fields(cards)
    tables = {
        "stimulus_cards": make_stimulus_cards(),
        "model_cards": cards,
        "similarities": similarities,
        "consistency": consistency,
        "consistency_summary": make_consistency_summary(consistency),
        "similarity_inference": make_inference(similarities),
        "sample_sizes": make_sample_sizes(similarities),
        "noise_ceilings": make_ceilings(matrices, cards),
        "anchor_comparisons": compare_anchors(similarities, cards, QUICK),
        "measure_agreement": compare_measures(similarities, consistency, cards, QUICK),
        "model_positions": make_positions(matrices, cards),
        "model_clusters": make_clusters(cards),
        "model_selection": make_selection(cards),
        **make_selection_without_labels(cards, probes),
        "probe_results": probes,
        "prediction_agreement": make_agreement(probes, cards),
        "performance_gaps": compute_performance_gaps(
            similarities, probes, ProbingParams(performance_gaps={"n_bootstrap": 50, "n_permutations": 99})
        ),
        "layer_diagnostics": make_diagnostics(cards, rng),
        "receptive_fields": fields,
        "layer_tails": compute_layer_tails(probes, fields, cards, DiagnosticsParams(tail_epsilon=0.1)),
        "saturation_history": make_saturation_history(cards),
        "projection_results": make_projections(cards),
        **make_layer_tables(layers),
        "stitching_results": make_stitching(cards, rng),
        "stitch_paths": STITCH_PATHS.frame([]),
        "training_history": make_history(cards, rng),
        "training_costs": make_costs(cards),
        "network_settings": NETWORK_SETTINGS.frame([]),
        "layer_probe_results": make_layer_probes(cards),
        "run_table": make_run_table(cards, rng),
    }
    tables["stitching_summary"] = summarise_results(tables["stitching_results"])
    final = probes[(probes.stimulus_set == "digits") & probes.is_final].set_index("model").test_accuracy
    cards["test_accuracy"] = [
        final[m] + 0.004 if o == "supervised" else np.nan
        for m, o in zip(cards.model, cards.objective, strict=False)
    ]
    return Study(matrices, tables, make_layer_matrices(layers))


def make_selection_without_labels(cards, probes):
    """Return tables of the choice without labels: ranks that follow accuracy on the first set alone."""
    rng = np.random.default_rng(5)
    final = probes[probes["is_final"]].set_index(["stimulus_set", "model"])["test_accuracy"]
    rows = [
        {
            **{"stimulus_set": stimulus_set, "model": model, "space": "representation", "layer": "last"},
            **{"measure": "rankme", "n": 500, "k": 64, "settings": "{}", "caution": "", "reason": ""},
            "value": 2 ** (6 * final[stimulus_set, model] + 2 * (place > 0) * rng.normal()),
        }
        for place, stimulus_set in enumerate(STIMULUS_SETS)
        for model in cards["model"]
    ]
    measures = LABEL_FREE_MEASURES.frame(rows)
    settings = pd.DataFrame(
        [
            {"model": row.model, "setting": name, "value": str(getattr(row, name))}
            for row in cards.itertuples()
            for name in ("objective", "architecture", "seed")
        ]
    )
    criteria, regret = judge_criteria(
        measures, probes, settings, ModelSelectionParams(criteria={"n_bootstrap": 100})
    )
    return {"label_free_measures": measures, "selection_criteria": criteria, "selection_regret": regret}


def make_layer_members():
    """Return values and meta of the layers of some networks by stimulus set."""
    chosen = ("cnn_simclr_s0", "cnn_supervised_s0", "cnn_untrained_s0", "resnet_supervised_s0")
    names = {model: ARCHITECTURES[model.partition("_")[0]] for model in chosen}
    return {name: make_layer_values(names, seed) for seed, name in enumerate(STIMULUS_SETS)}


def make_layer_matrices(members, measure=MEASURES[0]):
    """Return the members of the collection of matrices over layers."""
    handles = {}
    for stimulus_set, (values, meta) in members.items():
        labels = tuple("/".join(parts) for parts in zip(meta["models"], meta["layers"], strict=True))
        key = f"{stimulus_set}/{measure}"
        handles[key] = FakeHandle(key, {"seed": 0}, FakeMatrix(values, labels), meta)
    return handles


def make_cards(rng):
    rows = []
    for architecture, layers in ARCHITECTURES.items():
        for objective in OBJECTIVES:
            for seed in range(2):
                rows.append(
                    {
                        "model": f"{architecture}_{objective}_s{seed}",
                        "source": "trained here",
                        "architecture": architecture,
                        "objective": objective,
                        "seed": seed,
                        "trained_on": None if objective == "untrained" else "digits",
                        "n_parameters": 65_432 if architecture == "cnn" else 175_258,
                        "n_flops": 4_210_688 if architecture == "cnn" else 12_400_640,
                        "n_layers": len(layers),
                        "feature_width": 64,
                        "test_accuracy": np.nan,
                    }
                )
    return pd.DataFrame(rows)


def make_matrices(cards, rng):
    handles = {}
    base = {o: rng.normal(size=12) for o in OBJECTIVES}
    arch = {a: rng.normal(size=12) for a in ARCHITECTURES}
    own = {m: rng.normal(size=12) for m in cards.model}
    for stimulus_set, spread in zip(STIMULUS_SETS, (0.55, 0.8, 0.6), strict=False):
        shift = rng.normal(size=(len(cards), 12))
        x = (
            np.stack(
                [
                    base[row.objective]
                    + 0.7 * arch[row.architecture]
                    + (1.3 if row.objective == "untrained" else spread) * own[row.model]
                    for row in cards.itertuples()
                ]
            )
            + 0.35 * shift
            + 0.5
        )
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosine = unit @ unit.T
        for measure in MEASURES:
            power = {
                "cka_linear_debiased": 1.0,
                "cka_linear_biased": 0.6,
                "cka_rbf_median_0.4_debiased": 0.9,
                "rsa_correlation_spearman": 1.2,
            }[measure]
            values = np.sign(cosine) * np.abs(cosine) ** power
            if measure == "cka_linear_debiased":
                values = np.where(values < 0, 0.1 * values, values)
            if measure == "cka_linear_biased":
                values = 0.25 + 0.75 * np.clip(values, 0, 1)
            values = (values + values.T) / 2
            np.fill_diagonal(values, 1.0)
            reasons = {}
            labels = tuple(cards.model)
            if measure == "rsa_correlation_spearman" and stimulus_set == "shapes":
                i = labels.index("cnn_untrained_s1")
                for j in range(len(labels)):
                    values[i, j] = values[j, i] = np.nan
                    reasons[labels[i], labels[j]] = reasons[labels[j], labels[i]] = (
                        "all dissimilarities of cnn_untrained_s1 are equal"
                    )
            key = f"{stimulus_set}/{measure}"
            handles[key] = FakeHandle(
                key, {"measure": measure, "seed": 0}, FakeMatrix(values, labels, reasons, {"n_stimuli": 500})
            )
    return handles


def make_similarities(matrices, cards):
    traits = cards.set_index("model")
    rows = []
    for key, handle in matrices.items():
        stimulus_set, measure = key.split("/")
        matrix = handle.matrix()
        for i, j in combinations(range(len(matrix.labels)), 2):
            a, b = matrix.labels[i], matrix.labels[j]
            row = {
                "stimulus_set": stimulus_set,
                "measure": measure,
                "model_a": a,
                "model_b": b,
                "similarity": matrix.values[i, j],
                "reason": matrix.reasons.get((a, b)),
            }
            for trait in ("objective", "architecture"):
                pair = [traits.loc[a, trait], traits.loc[b, trait]]
                row |= {f"{trait}_a": pair[0], f"{trait}_b": pair[1]}
            rows.append(row)
    return pd.DataFrame(rows)


def make_consistency(similarities):
    rows = []
    for measure, of_measure in similarities.groupby("measure"):
        groups = [("all", ("all", "all"), of_measure)]
        for trait in ("objective", "architecture"):
            kinds = with_kinds(of_measure, trait).groupby(["value_a", "value_b"])
            groups += [(trait, kind, part) for kind, part in kinds]
        for category, (value_a, value_b), part in groups:
            wide = part.pivot(
                index=["model_a", "model_b"], columns="stimulus_set", values="similarity"
            ).dropna()
            for a, b in combinations(STIMULUS_SETS, 2):
                enough = len(wide) > 2
                r = wide[a].corr(wide[b]) if enough else np.nan
                rows.append(
                    {
                        "measure": measure,
                        "anchor": "",
                        "category": category,
                        "value_a": value_a,
                        "value_b": value_b,
                        "stimulus_set_a": a,
                        "stimulus_set_b": b,
                        "n_pairs": len(wide),
                        "pearson": r,
                        "spearman": wide[a].rank().corr(wide[b].rank()) if enough else np.nan,
                        "reason": None if enough else f"{len(wide)} pairs are too few",
                        "pearson_low": max(-1, r - 0.18),
                        "pearson_high": min(1, r + 0.1),
                        "p_value": 0.002 if enough and r > 0.3 else 0.4,
                        "p_adjusted": 0.02 if enough and r > 0.3 else 1.0,
                        "p_smallest": 0.002,
                        "n_tests": 10,
                    }
                )
    return pd.DataFrame(rows)


def make_anchored_consistency(similarities, cards):
    found = compute_consistency(similarities, cards, QUICK.model_copy(update={"categories": ["objective"]}))
    return found[found["anchor"] != ""]


def make_consistency_summary(consistency):
    rows = []
    keys = ["measure", "anchor", "category", "value_a", "value_b"]
    for group, part in consistency.groupby(keys, sort=False):
        r = part["pearson"]
        rows.append(
            {
                **dict(zip(keys, group, strict=True)),
                "n_pairs": part["n_pairs"].max(),
                "n_set_pairs": len(part),
                "n_defined": r.notna().sum(),
                "median_pearson": r.median(),
                "median_low": r.median() - 0.2,
                "median_high": min(1, r.median() + 0.15),
                "smallest": r.min(),
                "first_quartile": r.quantile(0.25),
                "third_quartile": r.quantile(0.75),
                "largest": r.max(),
                "reason": "",
            }
        )
    return pd.DataFrame(rows)


def make_inference(similarities):
    linear = similarities[similarities["measure"].str.startswith("cka_linear")]
    table = linear[["stimulus_set", "measure", "model_a", "model_b", "similarity"]].reset_index(drop=True)
    threshold = np.where(table["measure"] == "cka_linear_biased", 0.3, 0.05)
    above = table["similarity"] > threshold
    return table.assign(
        standard_error=np.where(table["measure"] == "cka_linear_debiased", 0.02, np.nan),
        similarity_low=table["similarity"] - 0.05,
        similarity_high=(table["similarity"] + 0.04).clip(upper=1),
        p_value=np.where(above, 0.005, 0.3),
        p_adjusted=np.where(above, 0.005, 1.0),
        p_smallest=0.005,
        n_tests=120,
        is_biased=table["measure"] == "cka_linear_biased",
        interval_covers="the value in the population of stimuli",
        null_mean=threshold / 2,
        threshold=threshold,
        calibrated=((table["similarity"] - threshold) / (1 - threshold)).clip(lower=0),
        n_stimuli=500,
        n_permutations=199,
        n_bootstrap=200,
        reason="",
    )


def make_sample_sizes(similarities):
    rows = []
    for (stimulus_set, measure), part in similarities.groupby(["stimulus_set", "measure"]):
        if not measure.startswith("cka_linear"):
            continue
        for size in (10, 20, 50, 100, 200, 500):
            bias = 4 / size if measure == "cka_linear_biased" else 0.0
            rows.append(
                {
                    "stimulus_set": stimulus_set,
                    "measure": measure,
                    "n_stimuli": size,
                    "n_orders": 3,
                    "n_pairs": len(part),
                    "mean_similarity": part["similarity"].mean() + bias,
                    "first_quartile": part["similarity"].quantile(0.25) + bias,
                    "third_quartile": part["similarity"].quantile(0.75) + bias,
                    "mean_change": 1 / size - 0.002,
                    "largest_change": 3 / size - 0.006,
                    "pearson_with_all": 1 - 1 / size + 0.002,
                    "reason": "",
                }
            )
    return pd.DataFrame(rows)


def make_ceilings(matrices, cards):
    rows = []
    for key, handle in matrices.items():
        stimulus_set, measure = key.split("/")
        values = handle.matrix().values
        for (architecture, objective), part in cards.groupby(["architecture", "objective"]):
            inside = cards["model"].isin(part["model"]).to_numpy()
            others = values[np.ix_(inside, ~inside)]
            low = values[inside][:, inside][0, 1]
            rows.append(
                {
                    "stimulus_set": stimulus_set,
                    "measure": measure,
                    "source": "trained here",
                    "architecture": architecture,
                    "objective": objective,
                    "trained_on": None if objective == "untrained" else "digits",
                    "n_repeats": len(part),
                    "ceiling_low": low,
                    "ceiling_high": np.sqrt((1 + low) / 2),
                    "others_mean": others.mean(),
                    "others_largest": others.max(),
                    "reason": "",
                }
            )
    return pd.DataFrame(rows)


def make_positions(matrices, cards):
    """Positions near those of the objective; one network of one map is left out."""
    rng = np.random.default_rng(7)
    rows = []
    for measure, stimulus_set, method in product(MEASURES, ("mean", *STIMULUS_SETS), ("tsne", "mds")):
        scale = 30.0 if method == "tsne" else 0.4
        for row in cards.itertuples():
            angle = 1.6 * OBJECTIVES.index(row.objective) + 0.3 * (row.architecture == "cnn")
            x, y = scale * (np.array([np.cos(angle), np.sin(angle)]) + 0.2 * rng.normal(size=2))
            is_left_out = (stimulus_set, row.model) == ("shapes", "cnn_untrained_s1")
            rows.append(
                {
                    "stimulus_set": stimulus_set,
                    "measure": measure,
                    "method": method,
                    "model": row.model,
                    "x": np.nan if is_left_out else x,
                    "y": np.nan if is_left_out else y,
                    "stress": 0.15 if method == "mds" and not is_left_out else np.nan,
                    "divergence": 0.21 if method == "tsne" and not is_left_out else np.nan,
                    "reason": "undefined with 15 of 15 networks" if is_left_out else "",
                }
            )
    return pd.DataFrame(rows)


def make_clusters(cards):
    """Clusters of two kinds: trained or not; and by objective, where one network is left out."""
    rows = []
    for measure, stimulus_set, n_clusters in product(MEASURES, ("mean", *STIMULUS_SETS), (2, 3, 4)):
        for row in cards.itertuples():
            is_left_out = (stimulus_set, row.model) == ("shapes", "cnn_untrained_s1")
            cluster = min(
                n_clusters - 1, ("simclr", "supervised", "untrained", "vicreg").index(row.objective)
            )
            rows.append(
                {
                    "stimulus_set": stimulus_set,
                    "measure": measure,
                    "n_clusters": n_clusters,
                    "model": row.model,
                    "cluster": None if is_left_out else cluster,
                    "silhouette": np.nan if is_left_out else 0.3,
                    "reason": "undefined with 15 of 15 networks" if is_left_out else "",
                }
            )
    return pd.DataFrame(rows).astype({"cluster": "Int64"})


def make_selection(cards):
    """Ensembles that gain by accuracy, by number and by difference; one strategy finds no set of four."""
    rng = np.random.default_rng(11)
    gains = {
        "top": (1, 0.05),
        "random": (5, 0.02),
        "best_of_each_cluster": (1, 0.06),
        "random_of_each_cluster": (5, 0.04),
        "within_one_cluster": (5, 0.01),
    }
    rows = []
    for measure, stimulus_set, n_models in product(MEASURES, STIMULUS_SETS, (3, 4)):
        for strategy, (n_draws, gain) in gains.items():
            is_missing = (strategy, n_models) == ("within_one_cluster", 4)
            for draw in range(1 if is_missing else n_draws):
                best = 0.7 + gain + 0.02 * rng.normal()
                rows.append(
                    {
                        "stimulus_set": stimulus_set,
                        "measure": measure,
                        "strategy": strategy,
                        "n_models": n_models,
                        "draw": draw,
                        "models": None if is_missing else sorted(cards.model[:n_models]),
                        "mean_accuracy": np.nan if is_missing else best - 0.05,
                        "best_accuracy": np.nan if is_missing else best,
                        "ensemble_accuracy": np.nan if is_missing else best + gain + 0.01 * n_models,
                        "ensemble_low": np.nan if is_missing else best + gain - 0.05,
                        "ensemble_high": np.nan if is_missing else 1.0,
                        "n_test": 400,
                        "mean_similarity": np.nan if is_missing else 0.6 - 4 * gain,
                        "reason": "no cluster has 4 networks with probes" if is_missing else "",
                    }
                )
    return pd.DataFrame(rows)


def describe_fit(test):
    """Return what a probe's row says of its fit and quality."""
    return {
        "top5_accuracy": np.nan,
        "balanced_accuracy": test,
        "calibration_error": 0.05,
        "mean_average_precision": np.nan,
        "solver": "lbfgs",
        "weight_decay": 1e-3,
        "learning_rate": 0.1,
        "n_neighbours": pd.NA,
        "metric": None,
        "weighting": None,
        "convergence": "converged",
        "n_seeds": 1,
        "seeds_mean": test,
        "seeds_low": np.nan,
        "seeds_high": np.nan,
    }


def make_probes(cards, rng):
    top = {"supervised": 0.97, "simclr": 0.9, "vicreg": 0.87, "untrained": 0.7}
    ease = {"digits": 1.0, "photograph_patches": 0.62, "shapes": 0.85}
    rows = []
    for row in cards.itertuples():
        layers = ARCHITECTURES[row.architecture]
        for stimulus_set in STIMULUS_SETS:
            chance = {"digits": 0.1, "photograph_patches": 0.5, "shapes": 0.2}[stimulus_set]
            for depth, layer in enumerate(layers):
                progress = (depth + 1) / len(layers)
                test = (
                    chance
                    + (top[row.objective] * ease[stimulus_set] - chance) * progress**0.4
                    + rng.normal() * 0.012
                )
                test = min(max(test, chance), 0.995)
                rows.append(
                    {
                        "stimulus_set": stimulus_set,
                        "model": row.model,
                        "layer": layer,
                        "depth": depth,
                        "label": "label",
                        "is_final": depth == len(layers) - 1,
                        "train_accuracy": min(1.0, test + 0.03),
                        "validation_accuracy": min(1.0, test + 0.01),
                        "test_accuracy": test,
                        "test_low": test - 0.05,
                        "test_high": min(1.0, test + 0.05),
                        **describe_fit(test),
                        "seed": 0,
                        "n_train": 1200,
                        "n_test": 400,
                        "n_classes": {"digits": 10, "photograph_patches": 2, "shapes": 5}[stimulus_set],
                    }
                )
    return pd.DataFrame(rows)


def make_agreement(probes, cards):
    """Pairs of networks between the least and the greatest disagreement of their accuracies."""
    traits, rng, rows = cards.set_index("model"), np.random.default_rng(5), []
    final = probes[probes["is_final"]]
    for stimulus_set, part in final.groupby("stimulus_set"):
        for one, other in combinations(part.itertuples(), 2):
            a, b = one.test_accuracy, other.test_accuracy
            low, high = abs(a - b), min(1.0, 2 - a - b)
            disagreement = low + rng.uniform(0.1, 0.8) * (high - low)
            chance = a * b + (1 - a) * (1 - b)
            row = {
                "stimulus_set": stimulus_set,
                "model_a": one.model,
                "model_b": other.model,
                "n_test": 400,
                "accuracy_a": a,
                "accuracy_b": b,
                "disagreement": disagreement,
                "disagreement_low_bound": low,
                "disagreement_high_bound": high,
                "error_consistency": max(-1.0, (1 - disagreement - chance) / (1 - chance)),
                "jensen_shannon": disagreement / 2,
                "reason": "",
            }
            for trait in ("objective", "architecture"):
                row |= {
                    f"{trait}_a": traits.loc[one.model, trait],
                    f"{trait}_b": traits.loc[other.model, trait],
                }
            rows.append(row)
    return pd.DataFrame(rows)


def make_diagnostics(cards, rng):
    rows = []
    for row in cards.itertuples():
        layers = ARCHITECTURES[row.architecture]
        for stimulus_set in STIMULUS_SETS:
            for depth, layer in enumerate(layers):
                width = WIDTHS[layer]
                shape = np.array([0.3, 0.55, 0.5, 0.25, 0.2])[depth]
                factor = {"supervised": 1.0, "simclr": 1.3, "vicreg": 1.5, "untrained": 0.6}[row.objective]
                for delta, scale in ((0.99, 1.0), (0.9, 0.5)):
                    dimension = max(
                        1, round(width * min(1, shape * factor * scale * rng.uniform(0.85, 1.15)))
                    )
                    rows.append(
                        {
                            "stimulus_set": stimulus_set,
                            "model": row.model,
                            "layer": layer,
                            "depth": depth,
                            "n_channels": width,
                            "n_samples": 500,
                            "delta": delta,
                            "intrinsic_dimension": dimension,
                            "saturation": dimension / width,
                            "rankme": 0.7 * width * min(1, shape * factor) * rng.uniform(0.8, 1.2) + 1,
                            "effective_rank": 0.5 * width * shape * factor + 1,
                            "participation_ratio": 0.2 * width * shape * factor + 1,
                            "two_nn_dimension": 0.15 * width * shape * factor + 1,
                            "mle_dimension": 0.1 * width * shape * factor + 1,
                        }
                    )
    return pd.DataFrame(rows)


def make_receptive_fields(cards):
    sizes = {"cnn": [3, 8, 18, 22], "resnet": [3, 7, 19, 43, 43]}
    rows = []
    for row in cards.itertuples():
        fields = sizes[row.architecture]
        border = next(i for i, size in enumerate(fields) if (i and fields[i - 1] >= 16) or size >= 16)
        for depth, (layer, size) in enumerate(zip(ARCHITECTURES[row.architecture], fields, strict=False)):
            rows.append(
                {
                    "model": row.model,
                    "layer": layer,
                    "depth": depth,
                    "receptive_field_px": size,
                    "jump_px": 2 ** min(depth, 3),
                    "input_px": 16,
                    "is_border": depth == border,
                    "is_beyond_border": depth >= border,
                    **dict.fromkeys(("largest_rows_px", "largest_columns_px"), size),
                    **dict.fromkeys(("smallest_rows_px", "smallest_columns_px"), size),
                    "jump_rows_px": 2 ** min(depth, 3),
                    **dict.fromkeys(("sees_whole_map", "is_critical"), False),
                    "is_unproductive": depth >= border,
                    "smallest_input_px": max(fields),
                    "lower_bound_input_px": fields[-2],
                    "largest_input_px": max(fields),
                    "reason": "",
                }
            )
    return pd.DataFrame(rows)


def make_saturation_history(cards):
    """Two watched networks whose saturation moves to later layers."""
    rows = []
    for row in cards[cards.objective == "supervised"].head(2).itertuples():
        for depth, layer in enumerate(ARCHITECTURES[row.architecture]):
            for epoch in range(4):
                dimension = max(1, round(WIDTHS[layer] * np.exp(-((depth - epoch) ** 2) / 4)))
                for mode in ("train", "eval")[epoch == 0 :]:
                    for rule, n in (("reach", dimension), ("delve", max(1, dimension - 1))):
                        about = {"model": row.model, "epoch": epoch, "layer": layer, "depth": depth}
                        about |= {"mode": mode, "delta": 0.99, "rule": rule, "n_features": WIDTHS[layer]}
                        about |= {"n_samples": 500, "intrinsic_dimension": n}
                        about |= {"saturation": n / WIDTHS[layer], "participation_ratio": n / 2}
                        about |= {"effective_rank": n / 1.5, "stable_rank": n / 3, "two_nn_dimension": np.nan}
                        rows.append({**about, "reason": ""})
    return pd.DataFrame(rows)


def make_layer_probes(cards):
    """Probes of positions of one network: maps get smaller, and the middle is read out first."""
    (row,) = cards[cards.objective == "supervised"].head(1).itertuples()
    rows = []
    for depth, layer in enumerate(ARCHITECTURES[row.architecture]):
        side = max(2, 8 >> depth)
        about = {"stimulus_set": "digits", "model": row.model, "layer": layer, "depth": depth + 1}
        about |= {"height": side, "width": side, "label": "label", "n_features": WIDTHS[layer]}
        about |= {"converged": True, "n_iterations": 20, "n_train": 400, "n_test": 100, "n_classes": 10}
        for i, j in np.ndindex(side, side):
            distance = abs(i - (side - 1) / 2) + abs(j - (side - 1) / 2)
            accuracy = round(min(0.95, 0.2 + 0.2 * depth) / (1 + 0.1 * distance), 2)
            place = {"readout": f"{i},{j}", "row": i, "column": j}
            shares = dict.fromkeys(("train_accuracy", "test_accuracy", "test_low", "test_high"), accuracy)
            rows.append(about | place | shares)
    return LAYER_PROBE_RESULTS.frame(rows)


def make_projections(cards):
    rows = []
    for row in cards[cards.objective == "supervised"].head(1).itertuples():
        for layer in (ARCHITECTURES[row.architecture][0], "*"):
            for kind, accuracy in (("leading", 0.95), ("random", 0.2)):
                about = {"stimulus_set": "digits", "model": row.model, "layer": layer, "directions": kind}
                about |= {"is_centred": True, "delta": 0.99, "rule": "reach", "dimension": 9}
                about |= {"n_channels": 16, "accuracy": accuracy, "loss": 0.2, "n_fit": 400, "n_test": 100}
                about |= {"original_accuracy": 0.96, "original_loss": 0.1, "reason": ""}
                relative = accuracy / 0.96
                about |= {"relative_low": relative - 0.03, "relative_high": relative + 0.02}
                rows.append({**about, "relative_accuracy": relative, "n_both_right": int(100 * accuracy)})
    return pd.DataFrame(rows)


def make_stitching(cards, rng):
    rows = []
    for architecture, layers in ARCHITECTURES.items():
        models = cards[cards.architecture == architecture].model.tolist()
        end_models = [f"{architecture}_supervised_s0", f"{architecture}_simclr_s0"]
        for end in end_models:
            for front in models:
                if front == end:
                    continue
                quality = 0.98 if "supervised" in front else 0.9 if "untrained" not in front else 0.6
                for depth, layer in enumerate(layers[:-1]):
                    relative = quality ** (depth + 1) + rng.normal() * 0.01
                    end_accuracy = 0.96
                    rows.append(
                        {
                            "stimulus_set": "digits",
                            "front_model": front,
                            "end_model": end,
                            "control": "none",
                            "map": "ps_inv",
                            "front_layer": layer,
                            "end_layer": layer,
                            "front_depth": depth,
                            "depth": depth,
                            "flatten": False,
                            "seed": 0,
                            "front_accuracy": np.nan if "untrained" in front else 0.93,
                            "end_accuracy": end_accuracy,
                            "stitched_accuracy": relative * end_accuracy,
                            "relative_accuracy": relative,
                            "low": relative - 0.02,
                            "high": relative + 0.02,
                            "agreement": relative * 0.98,
                            "cross_entropy": 0.2 + 2.0 * (1.0 - relative),
                            "class_averaged_cross_entropy": 0.02 + 0.2 * (1.0 - relative),
                            "kl_divergence": 2.0 * (1.0 - relative),
                            "js_divergence": 0.3 * (1.0 - relative),
                            **dict.fromkeys(
                                ("n_both_right", "n_stitched_right", "n_end_right", "n_both_wrong"), 100
                            ),
                            "joint_l2": 0.1,
                            "logit_cka": relative,
                            "logit_l2": 1.0 - relative,
                            "map_rank": 8,
                            "weight_rank": 8,
                            "nonzero_fraction": 1.0,
                            "reason": "",
                            "map_r2": relative * 0.8,
                            "n_fit": 500,
                            "n_test": 400,
                        }
                    )
    return STITCHING_RESULTS.frame(rows)


def make_stitching_of_maps(results, rng, n_maps=4):
    """Return results of several maps, with CKA, and a grid of layers, made from those of one map."""
    several = [results]
    for i in range(1, n_maps):
        shift = rng.normal(size=len(results)) * 0.02 + 0.03 * i
        relative = (results["relative_accuracy"] - shift).clip(0.0)
        several.append(results.assign(map=f"map_{i}", relative_accuracy=relative))
    whole = pd.concat(several, ignore_index=True)
    whole["cka"] = (whole["relative_accuracy"] * 0.9 + rng.normal(size=len(whole)) * 0.02).clip(0.0, 1.0)
    grid = []
    for _, layers in whole.groupby(["front_model", "end_model", "map"]):
        for end in layers.itertuples():
            crossed = layers[layers["front_layer"] != end.end_layer]
            far = (crossed["front_depth"] - end.depth).abs()
            relative = crossed["relative_accuracy"] * 0.8**far
            grid.append(crossed.assign(end_layer=end.end_layer, depth=end.depth, relative_accuracy=relative))
    return STITCHING_RESULTS.frame(pd.concat([whole, *grid], ignore_index=True))


def make_costs(cards):
    return pd.DataFrame(
        [
            {
                "model": row.model,
                "architecture": row.architecture,
                "n_parameters": 10_000,
                "macs_per_image": 1_000_000,
                "n_updates": 0 if row.objective == "untrained" else 100,
                "n_images_seen": 0 if row.objective == "untrained" else 6400,
                "training_flops": 0.0 if row.objective == "untrained" else 6e6 * 6400,
                "memory_bytes": 2e6,
                "measured_memory_bytes": 3e6,
                "seconds": 3.0,
                "reason": "",
            }
            for row in cards.itertuples()
        ]
    )


def make_history(cards, rng):
    rows = []
    for row in cards.itertuples():
        if row.objective == "untrained":
            rows.append({"model": row.model, "architecture": row.architecture, "objective": row.objective,
                         "seed": row.seed, "epoch": 0, "metric": "test_accuracy", "value": 0.1})  # fmt: skip
            continue
        start, end = {"supervised": (2.3, 0.08), "simclr": (5.4, 3.1), "vicreg": (31.0, 17.5)}[row.objective]
        for epoch in range(1, N_EPOCHS + 1):
            fade = np.exp(-epoch / 3)
            values = {"loss": end + (start - end) * fade + rng.normal() * 0.02 * start}
            if row.objective == "supervised":
                values |= {
                    "train_accuracy": 0.99 - 0.8 * fade,
                    "test_accuracy": 0.965 - 0.8 * fade + rng.normal() * 0.01,
                }
            for metric, value in values.items():
                rows.append(
                    {
                        "model": row.model,
                        "architecture": row.architecture,
                        "objective": row.objective,
                        "seed": row.seed,
                        "epoch": epoch,
                        "metric": metric,
                        "value": value,
                    }
                )
    return pd.DataFrame(rows)


def make_run_table(cards, rng):
    rows = []
    for collection, keys in {
        "networks": list(cards.model),
        "features": [f"{s}/{m}" for s in STIMULUS_SETS for m in cards.model],
        "similarity_matrices": [f"{s}/{m}" for s in STIMULUS_SETS for m in MEASURES],
    }.items():
        for key in keys:
            rows.append(
                {
                    "collection": collection,
                    "key": key,
                    "seed": 0,
                    "seconds": float(rng.uniform(0.1, 8)),
                    "computed_at": "2025-03-02T10:11:12+00:00",
                    "versions": "numpy 2.4.0, rep_kedro 0.1.0, torch 2.13.0",
                    "platform": None if collection == "similarity_matrices" else "x86_64 AVX2, torch 2.13.0",
                    "recipe_digest": f"{rng.integers(0, 16**8):08x}{rng.integers(0, 16**8):08x}",
                }
            )
    return pd.DataFrame(rows)


HOSTILE = "<script>alert('%s')</script>$\\frac{\x07&\"_"


def rename_all(study):
    """Give every name a form that would run, break mathematics or break markup where it is not escaped."""
    names = {str(model): HOSTILE % model for model in study.model_cards["model"]}
    names |= {name: HOSTILE % name for name in (*STIMULUS_SETS, *OBJECTIVES, *ARCHITECTURES)}
    names |= {layer: HOSTILE % layer for layers in ARCHITECTURES.values() for layer in layers}
    tables = {name: table.replace(names) for name, table in study.tables.items()}
    matrices = {}
    for key, handle in study.matrices.items():
        stimulus_set, measure = key.split("/")
        old = handle.matrix()
        renamed = FakeMatrix(old.values, tuple(names[label] for label in old.labels), {}, old.meta)
        # a key holds a slash only before the measure: no other is let into a catalog
        matrices[f"{names[stimulus_set].replace('/', '|')}/{measure}"] = FakeHandle(
            key, handle.recipe, renamed
        )
    layers = {
        names[stimulus_set].replace("/", "|"): (
            values,
            {**meta, **{part: [names[name] for name in meta[part]] for part in ("models", "layers")}},
        )
        for stimulus_set, (values, meta) in make_layer_members().items()
    }
    return Study(matrices, tables, make_layer_matrices(layers))

"""The collection of figures: kept while nothing changed, drawn at every scale, empty with a reason."""

from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from rep_kedro.checks.references import require_compared_measure
from rep_kedro.datasets import DamagedMemberError, DrawingDataset, FigureCollectionDataset, rows_digest
from rep_kedro.errors import UserError
from rep_kedro.pipelines.reporting.params import ReportingParams
from rep_kedro.pipelines.reporting.study_figures import COLLECTIONS, STUDY_FIGURES, TABLES, plan_figures
from rep_kedro.reporting.certainty.subset_sizes import plot_subset_sizes
from rep_kedro.reporting.pairs import mean_and_spread, pairs_by_set, square
from rep_kedro.reporting.panels import panels_of_sets
from rep_kedro.reporting.predictions.figures import agreement_and_similarity, within_range
from rep_kedro.reporting.similarity.cross_tables import plot_categories, properties_of
from rep_kedro.reporting.similarity.set_scatter import chosen_set_pairs, plot_set_scatter
from rep_kedro.reporting.similarity.spread import plot_mean_and_spread
from rep_kedro.reporting.texts import figure_texts
from rep_kedro.schemas import TABLES as SCHEMAS

MOST_BYTES = {  # 64 networks on 23 sets, with what each mark is
    "mean_and_spread": 400_000,
    "performance_gap": 2_200_000,
    "prediction_agreement": 1_400_000,
    "set_scatter": 700_000,
}


@pytest.fixture(scope="module")
def scales(load_scales):
    return load_scales()


@pytest.fixture(scope="module")
def plan(study, measure, collections):
    """Return a function that plans all figures, with some tables changed."""

    def make(chosen=None, **changed):
        tables = {name: study.tables.get(name) for name in TABLES} | changed
        params = ReportingParams.model_construct(**({"measure": measure} | (chosen or {})))
        return plan_figures(params, **tables, **collections)

    return make


def recipes(plan):
    return {name: dict(planned.recipe) for name, planned in plan.items()}


def changed_figures(before, after):
    return {name for name in before if before[name] != after[name]}


def rows_of(scales, n_models, n_sets, **options):
    return scales.make_scaled_tables(n_models, n_sets, **options)


def points_of(figure, axes=0):
    """Return the coordinates of all marks of one panel."""
    lines = [line for line in figure.axes[axes].lines if line.get_linestyle() == "None"]
    return np.concatenate([np.column_stack(line.get_data()) for line in lines])


def test_every_figure_has_words_tables_of_the_contract_and_a_function():
    assert set(TABLES) <= set(SCHEMAS)
    for name, figure in STUDY_FIGURES.items():
        assert set(figure_texts(name)) == {"title", "reading", "misleads"}
        assert callable(figure.function())
        assert set(figure.parameters) <= set(ReportingParams.model_fields)
    titles = [figure_texts(name)["title"] for name in STUDY_FIGURES]
    assert len(set(titles)) == len(titles)


def test_a_recipe_holds_what_the_figure_shows_and_nothing_else(plan, study, measure):
    before = recipes(plan())
    assert recipes(plan()) == before
    similarities = study.similarities
    others = similarities.assign(
        similarity=similarities["similarity"].where(similarities["measure"] == measure, 0.123)
    )
    of_others = changed_figures(before, recipes(plan(similarities=others)))
    assert "mean_and_spread" not in of_others
    own = similarities.assign(similarity=similarities["similarity"] * 0.5)
    assert {"mean_and_spread", "set_scatter", "prediction_agreement"} <= changed_figures(
        before, recipes(plan(similarities=own))
    )
    assert changed_figures(before, recipes(plan({"spread_of": "angle"}))) == {"mean_and_spread"}
    assert changed_figures(before, recipes(plan({"n_heat_maps": 2}))) == {
        "similarity",
        "layer_similarity",
    }
    assert changed_figures(before, recipes(plan({"delta": 0.9}))) == {
        "layer_profiles",
        "rankme",
        "saturation",
        "saturation_history",
    }


def test_a_figure_refers_to_the_members_of_its_measure_alone(plan, study, measure):
    members = dict(plan()["similarity"].recipe)["inputs"]["similarity_matrices"]
    wanted = sorted(key for key in study.matrices if key.endswith(f"/{measure}"))
    assert 0 < len(wanted) < len(study.matrices)
    assert [reference["key"] for reference in members] == wanted


def test_rows_are_equal_whatever_their_index_and_kind_of_gap():
    rows = pd.DataFrame({"x": [0.1, np.nan], "t": ["a", None]})
    assert rows_digest(rows) == rows_digest(rows.astype({"t": "string"}).set_index(pd.Index([5, 3])))
    assert rows_digest(rows) != rows_digest(rows.iloc[::-1])
    assert rows_digest(rows) != rows_digest(rows.rename(columns={"x": "y"}))
    assert rows_digest(rows) != rows_digest(rows.assign(x=[0.1, 0.0]))


@pytest.mark.slow
def test_unchanged_figures_are_kept_and_a_damaged_one_is_reported(plan, tmp_path):
    whole = plan()
    few = {name: whole[name] for name in ("mean_and_spread", "categories")}
    dataset = FigureCollectionDataset(
        filepath=str(tmp_path / "figures"), member="rep_kedro.datasets.DrawingDataset"
    )
    dataset.save(few)
    assert dataset.counts == (2, 0)
    bytes_before = {path.name: path.read_bytes() for path in (tmp_path / "figures").glob("*.svg")}
    dataset.save(few)
    assert dataset.counts == (0, 2)
    dataset.save({name: whole[name] for name in few} | {"categories": plan()["categories"]})
    assert {path.name: path.read_bytes() for path in (tmp_path / "figures").glob("*.svg")} == bytes_before
    handles = dataset.load()
    assert handles["categories"].nothing_to_draw is None
    assert "rep_kedro" not in handles["categories"].svg()
    assert dataset.preview().count("<img") == 2
    path = tmp_path / "figures" / "categories.svg"
    path.write_text(path.read_text().replace("objective × architecture", "objective × weather"))
    with pytest.raises(DamagedMemberError, match="its content is not what was written"):
        dataset.load()["categories"].svg()
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DamagedMemberError, match="truncated or not a drawing of this project"):
        DrawingDataset(filepath=str(path)).load()


def test_only_figures_become_drawings(tmp_path):
    with pytest.raises(DatasetError, match="x: expected a matplotlib Figure, received str"):
        DrawingDataset(filepath=str(tmp_path / "x.svg"), key="x").save("<svg/>")


def test_without_rows_every_figure_says_why_it_is_empty(collections):
    params = ReportingParams.model_construct(measure="cka_linear_debiased")
    plan = plan_figures(params, **dict.fromkeys(TABLES), **{name: {} for name in COLLECTIONS})
    for name, planned in plan.items():
        reason = planned.compute().get_label()
        assert len(reason.split()) > 3, name


@pytest.mark.parametrize(
    ("n_models", "n_sets"),
    [
        (1, 1),
        (2, 2),
        *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in product((1, 2, 64), (1, 2, 23))
          if sizes not in {(1, 1), (2, 2)}),
    ],
)  # fmt: skip
def test_figures_are_drawn_at_every_scale(scales, n_models, n_sets, draw_tables, tmp_path):
    if n_models == 64 and n_sets == 1:
        n_models = 40
    tables = rows_of(scales, n_models, n_sets)
    for name, figure in draw_tables(tables).items():
        path = tmp_path / f"{name}.svg"
        DrawingDataset(filepath=str(path), key=name).save(figure)
        assert path.stat().st_size < MOST_BYTES.get(name, 350_000), name


def test_mean_and_spread_are_those_over_the_stimulus_sets(study, measure):
    rows = study.similarities.query("measure == @measure")
    wide = rows.pivot(index=["model_a", "model_b"], columns="stimulus_set", values="similarity")
    figure = plot_mean_and_spread(rows, study.model_cards, measure=measure)
    wanted = np.column_stack([wide.mean(axis=1), wide.std(axis=1, ddof=0)])
    drawn = points_of(figure)
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], wanted[np.lexsort(wanted.T)])
    assert "population" not in figure.axes[0].get_ylabel()
    angles = points_of(plot_mean_and_spread(rows, study.model_cards, measure=measure, spread_of="angle"))
    wanted = np.column_stack([np.arccos(wide).mean(axis=1), np.arccos(wide).std(axis=1, ddof=0)])
    np.testing.assert_allclose(angles[np.lexsort(angles.T)], wanted[np.lexsort(wanted.T)])


def test_pairs_that_are_undefined_somewhere_have_neither_mean_nor_spread(study):
    rows = study.similarities.query("measure == 'rsa_correlation_spearman'")
    moments = mean_and_spread(pairs_by_set(rows))
    assert len(moments) == 105
    models = list(study.model_cards["model"])
    frame = square(moments["mean"], models)
    assert frame.loc["cnn_untrained_s1"].isna().all()
    np.testing.assert_array_equal(frame.to_numpy(), frame.T.to_numpy())


def test_similarities_beyond_one_have_no_angle():
    wide = pd.DataFrame({"a": [0.5, 1.01], "b": [0.5, 1.0]}, index=pd.RangeIndex(2))
    assert len(mean_and_spread(wide)) == 2
    assert mean_and_spread(wide, is_angle=True)["mean"].tolist() == pytest.approx([np.pi / 3])


def test_two_sets_show_the_most_the_median_and_the_least_consistent(scales):
    tables = rows_of(scales, 12, 6)
    wide = pairs_by_set(tables["similarities"])
    r = wide.corr()
    values = sorted(r.to_numpy()[np.triu_indices(6, 1)], reverse=True)
    chosen = chosen_set_pairs(wide)
    assert [r.loc[a, b] for a, b in chosen] == pytest.approx([values[0], values[7], values[-1]])
    figure = plot_set_scatter(tables["similarities"], tables["model_cards"], measure=scales.MEASURE)
    (a, b), *_ = chosen
    drawn = points_of(figure)
    wanted = wide[[a, b]].to_numpy()
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], wanted[np.lexsort(wanted.T)])
    words = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    assert any(word.startswith("highest: r") and word.endswith("n = 66") for word in words)
    assert sum(word.startswith("supervised: r") for word in words) == 3


def test_counts_of_kinds_are_those_of_the_cards(scales):
    cards = rows_of(scales, 64, 1)["model_cards"]
    cards.loc[0, "n_parameters"] = np.nan
    values = properties_of(cards)
    figure = plot_categories(cards)
    counts = pd.crosstab(values["objective"], values["trained on"].fillna("none"))
    axes = next(a for a in figure.axes if a.get_title(loc="left") == "objective × trained on")
    written = sorted(int(text.get_text()) for text in axes.texts)
    assert written == sorted(count for count in counts.to_numpy().ravel() if count)
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert labels[-1] == "unknown"
    assert labels[:2] == ["1 M to 10 M", "10 M to 100 M"]


def test_very_many_values_share_a_row(scales):
    cards = rows_of(scales, 60, 1)["model_cards"]
    cards["architecture"] = [f"kind{min(index, 30):02d}" for index in range(60)]
    figure = plot_categories(cards)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(labels) == 14
    assert labels[-1] == "18 others"


def test_boxes_hold_the_differences_between_neighbouring_sizes(scales):
    curves = scales.make_curves(("digits",))
    figure = plot_subset_sizes(curves)
    [handle] = curves.values()
    changes = np.abs(np.diff(handle.values, axis=1))
    boxes = figure.axes[0].patches
    assert len(boxes) == 4
    for place, box in enumerate(boxes):
        first, third = np.quantile(changes[:, place], [0.25, 0.75])
        assert (box.get_y(), box.get_y() + box.get_height()) == pytest.approx((first, third))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][:2] == ["50–100", "100–200"]


def test_predictions_meet_the_similarity_of_the_same_two_networks(study, measure):
    similarities = study.similarities.query("measure == @measure")
    turned = similarities.rename(columns={"model_a": "model_b", "model_b": "model_a"})
    agreement = study.tables["prediction_agreement"]
    joined = agreement_and_similarity(agreement, similarities)
    assert len(joined) == len(agreement.dropna(subset=["disagreement"]))
    pd.testing.assert_series_equal(
        joined["similarity"], agreement_and_similarity(agreement, turned)["similarity"]
    )


def test_disagreement_stands_between_what_the_accuracies_allow():
    rows = pd.DataFrame(
        {
            "disagreement": [0.1, 0.3, 0.2, 0.2],
            "disagreement_low_bound": [0.1, 0.1, 0.1, 0.2],
            "disagreement_high_bound": [0.3, 0.3, 0.3, 0.2],
        }
    )
    np.testing.assert_allclose(within_range(rows), [0, 1, 0.5, np.nan])


def test_of_many_stimulus_sets_panels_show_some_from_end_to_end():
    names = [f"s{index:02d}" for index in range(23)]
    shown, title = panels_of_sets(names, "How?", 12)
    assert (shown[0], shown[-1], len(shown)) == ("s00", "s22", 12)
    assert title == "How? (12 of 23 stimulus sets)"
    assert panels_of_sets(names[:3], "How?", 12) == (names[:3], "How?")


class NoFiles:
    """A loader that knows no file."""

    conf_source, base_env, default_run_env, env = "nowhere", "base", None, None


def test_a_report_of_a_measure_that_is_not_compared_is_refused():
    parameters = {"reporting": {"measure": "b"}, "similarity": {"measures": ["a", "c"]}}
    message = r"parameter reporting\.measure: 'b' is not among similarity\.measures; choose one of a, c, or"
    with pytest.raises(ValueError, match=message):
        require_compared_measure(parameters, {}, NoFiles)
    with pytest.raises(ValueError, match=r"parameter reporting\.measure in --params: 'b' is not among"):
        require_compared_measure(parameters, {"reporting": {"measure": "b"}}, NoFiles)
    require_compared_measure(parameters | {"reporting": {"measure": "c"}}, {}, NoFiles)


def test_further_measures_and_sets_are_members_of_their_own_and_leave_the_others_as_they_are(plan):
    before = recipes(plan())
    chosen = {"further_measures": ["cka_linear_biased"], "further_stimulus_sets": ["shapes"]}
    after = recipes(plan(chosen))
    assert changed_figures(before, after) == set()
    added = set(after) - set(before)
    assert {"similarity/cka_linear_biased", "saturation/shapes"} <= added
    assert "stitching/shapes" not in added, "networks are stitched on digits alone"
    assert not [name for name in added if name.startswith(("categories/", "rankme/"))]
    assert after["consistency/cka_linear_biased"]["inputs"] != after["consistency"]["inputs"]


def test_a_further_stimulus_set_without_results_is_refused(plan):
    with pytest.raises(UserError, match=r"further_stimulus_sets: 'shapess'; did you mean 'shapes'\?"):
        plan({"further_stimulus_sets": ["shapess"]})

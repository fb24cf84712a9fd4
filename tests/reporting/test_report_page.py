"""The page answers every question, says what is missing, loads nothing, and no name in it can run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from rep_kedro.pipelines.reporting.study_figures import STUDY_FIGURES
from rep_kedro.reporting.content import make_content
from rep_kedro.reporting.page import Column, list_in_words, make_table, write_number
from rep_kedro.reporting.report import build_report
from rep_kedro.reporting.stitching.text import stitching_in_words
from rep_kedro.reporting.svg import inline_svg
from rep_kedro.reporting.texts import read_template
from rep_kedro.schemas import TABLES

ANCHORS = [
    "summary",
    "terms",
    "alike",
    "certainty",
    "consistency",
    "performance",
    "selection",
    "readout",
    "layers",
    "stitching",
    "agreement",
    "networks",
    "measures",
    "changes",
    "settings",
    "run",
]
N_FIGURES = len(STUDY_FIGURES)
FACTS = [
    {
        "id": "cka_linear_debiased",
        "title": "CKA",
        "range": "−1 to 1",
        "invariances": "rotation",
        "source": "A. 2001",
    }
]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page and keeps what tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.attributes, self.texts, self.open = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="session")
def choices(measure):
    return {
        "parameters": {"similarity": {"measures": [measure], "seed": 7}},
        "measure": measure,
        "delta": 0.99,
        "measure_facts": FACTS,
    }


@pytest.fixture(scope="session")
def html(study, drawings, choices):
    return build_report(make_content(study.tables, drawings, **choices))


def test_the_page_has_every_section_and_every_figure(html):
    page = Page(html)
    assert [anchor for anchor in page.ids if anchor in ANCHORS] == ANCHORS
    assert page.open == []
    assert page.tags.count("figure") == page.tags.count("svg") == page.tags.count("figcaption") == N_FIGURES
    assert html.count("What misleads:") == html.count("How to read it:") == N_FIGURES
    assert [int(n) for n in re.findall(r"Figure (\d+)\.", page.text)] == list(range(1, N_FIGURES + 1))


def test_no_id_is_used_twice_and_every_reference_inside_the_page_is_met(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    wanted = set(re.findall(r"url\(#([^)]+)\)", html))
    wanted |= {
        value[1:] for name, value in page.attributes if name in ("href", "xlink:href") and value[0] == "#"
    }
    assert wanted <= set(page.ids)


def test_the_page_loads_nothing(html):
    page = Page(html)
    loading = [
        v for n, v in page.attributes if n in ("src", "href", "xlink:href", "srcset", "action", "data")
    ]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in loading)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert set(re.findall(r"https?://[^\s\"'<)]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in html
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_policy_allows_exactly_the_pages_own_script(html):
    import base64
    import hashlib

    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.replace("&#39;", "'").replace("&#43;", "+")


def test_the_same_content_gives_the_same_page(html, study, drawings, choices):
    assert build_report(make_content(study.tables, drawings, **choices)) == html


def test_the_summary_gives_the_spread_of_similarities_and_no_pair_of_networks_as_the_winner(
    html, study, measure
):
    means = (
        study.similarities.query("measure == @measure").groupby(["model_a", "model_b"])["similarity"].mean()
    )
    text = Page(html).text
    low, median, high = (f"{means.quantile(q):.3f}".replace("-", "−") for q in (0.25, 0.5, 0.75))
    assert f"has a median of {median}, and is between {low} and {high}" in text
    assert f"middle half of {len(means)} pairs (means over 3 stimulus sets)" in text
    assert "ost alike are" not in text


def test_the_summary_gives_the_median_consistency(html, study, measure):
    r = study.consistency.query("measure == @measure and category == 'all' and anchor == ''")["pearson"]
    assert (
        f"consistency has a median of {r.median():.2f} (from {r.min():.2f} to {r.max():.2f}"
        in Page(html).text
    )


def test_undefined_values_are_counted_with_their_reason(study, figures, choices):
    chosen = choices | {"measure": "rsa_correlation_spearman"}
    text = Page(build_report(make_content(study.tables, {}, **chosen))).text
    reason = "all dissimilarities of cnn_untrained_s1 are equal (15)"
    assert f"15 of 360 similarity values are undefined: {reason}." in text


def test_pairs_undefined_somewhere_have_no_mean(study, choices):
    chosen = choices | {"measure": "rsa_correlation_spearman", "n_extreme_pairs": 500}
    page = build_report(make_content(study.tables, {}, **chosen))
    table = page[page.index("All pairs, by mean") :]
    assert "cnn_untrained_s1" not in table[: table.index("</table>")]
    assert "(105 rows)" in table


def test_tables_show_every_network_and_parameter(html, study):
    text = Page(html).text
    assert all(model in text for model in study.model_cards["model"])
    assert "similarity.seed" in text
    assert "A. 2001" in text
    assert "rsa_correlation_spearman: no source is given" in text


def test_missing_figures_are_reported(study, choices):
    html = build_report(make_content(study.tables, {}, **choices))
    assert html.count("This figure was not made in this run.") == N_FIGURES


def test_a_figure_that_shows_nothing_says_why(study, drawings, choices):
    absences = {"set_scatter": "there is <one> stimulus set"}
    html = build_report(make_content(study.tables, drawings, absences=absences, **choices))
    assert "Nothing to draw: there is &lt;one&gt; stimulus set." in html
    assert html.count("<svg") == N_FIGURES - 1


CHOICES = {"stimulus_cards", "missing_members", "stitching_summary", "stitch_paths"}  # groups, maps, paths
NOT_ON_THE_PAGE = {"training_costs", "network_settings"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TABLES if name not in CHOICES | NOT_ON_THE_PAGE])
def test_each_table_may_be_missing(study, html, choices, name):
    notes = Page(html).text.count("This run")
    for absent in (None, study.tables[name].iloc[:0]):
        text = Page(build_report(make_content(study.tables | {name: absent}, {}, **choices))).text
        assert text.count("This run") > notes


def cut(study, sets, models):
    """The study's tables as of a run with these stimulus sets and networks alone."""
    tables = dict(study.tables)
    for name in list(tables):
        for column in {"stimulus_set", "stimulus_set_a", "stimulus_set_b"} & set(tables[name].columns):
            tables[name] = tables[name][tables[name][column].isin([*sets, "mean"])]
        for column in {"model", "model_a", "model_b", "front_model", "end_model"} & set(tables[name].columns):
            tables[name] = tables[name][tables[name][column].isin(models)]
    if len(sets) < 2 or len(models) < 2:
        for name in ("consistency", "consistency_summary", "anchor_comparisons", "measure_agreement"):
            tables[name] = tables[name].iloc[:0]
    return tables


def test_what_a_run_leaves_open_is_one_folded_line_for_each_question(study, choices):
    tables = study.tables | dict.fromkeys(("probe_results", "prediction_agreement", "layer_tails"))
    html = build_report(make_content(tables, {}, **choices))
    folded = html[html.index("<details>") : html.index("</details>")]
    assert "What this run leaves open, and why" in folded
    assert folded.count("they need training and test images with labels of two classes") == 3
    assert '<a class="question" href="#readout">' in folded


def test_a_run_that_compares_layers_of_some_networks_names_them(study, choices):
    every = study.tables["layer_similarities"]
    shown = sorted({*every["model_a"], *every["model_b"]})[:2]
    some = every[every["model_a"].isin(shown) & every["model_b"].isin(shown)]
    text = Page(build_report(make_content(study.tables | {"layer_similarities": some}, {}, **choices))).text
    assert f"Layers of 2 of 16 networks are compared: {shown[0]} and {shown[1]} (layer_similarity" in text


def test_the_page_about_the_report_has_each_question_in_order_and_real_tables():
    page = Path(__file__).parents[2] / "docs/tutorials/read-the-report.md"
    rows = re.findall(r"(?m)^\| ([A-Z][^|]+?)(?: \([^|]+\))? \| (`.+`) \|$", page.read_text(encoding="utf-8"))
    texts = yaml.safe_load(read_template("captions.yml"))["sections"]
    of_words_alone = {"changes", "measures", "settings"}
    questions = [text["question"] for anchor, text in texts.items() if anchor not in of_words_alone]
    assert [question for question, _ in rows] == questions
    named = {name for _, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert named == set(TABLES) - {"training_costs", "network_settings"}


def told_of(study, choices, sets, models):
    return Page(build_report(make_content(cut(study, sets, models), {}, **choices))).text


ONE_OF_MANY = re.compile(
    r"\b1 (networks|sets|stimulus sets|pairs|points|architectures|objectives|measures|similarity measures|"
    r"clusters|kinds|results|collections|trained networks|stitched networks|values are)\b"
)


def test_a_run_with_one_stimulus_set_says_that_consistency_needs_two(study, choices):
    text = told_of(study, choices, ["digits"], list(study.model_cards["model"]))
    for table in ("consistency", "consistency_summary"):
        lack = "it needs two stimulus sets, and this run has 1 stimulus set."
        assert f"The table {table} is empty: {lack}" in text
    assert "made no table consistency" not in text
    assert "16 networks on 1 stimulus set (digits)" in text
    assert "(on the one stimulus set)" in text
    assert ONE_OF_MANY.findall(text) == []


def test_figures_that_need_two_stimulus_sets_are_left_out_of_a_run_with_one(study, choices):
    across = ("consistency", "set_pairs", "set_scatter", "consistency_by_category", "anchors")
    absences = dict.fromkeys((*across, "mean_and_spread", "mean_and_std_maps", "rankme"), "no second set")

    def page(sets):
        tables = cut(study, sets, list(study.model_cards["model"]))
        return Page(build_report(make_content(tables, {}, absences=absences, **choices))).text

    alone, both = page(["digits"]), page(["digits", "shapes"])
    for n_figures in (5, 2):
        line = f"Left out, since they need a second stimulus set: {n_figures} figures."
        assert (line in alone, line in both) == (True, False)
    assert (alone.count("no second set"), both.count("no second set")) == (1, 8)


def test_a_run_with_one_network_says_that_comparing_needs_two(study, choices):
    text = told_of(study, choices, ["digits", "shapes"], ["cnn_supervised_s0"])
    assert "This run has one network, and none to compare it with." in text
    for table in ("similarities", "consistency", "similarity_inference", "measure_agreement"):
        assert f"The table {table} is empty: it needs two networks, and this run has 1 network." in text
    assert ONE_OF_MANY.findall(text) == []


def test_two_networks_are_one_pair_and_not_the_most_and_the_least_alike(study, choices):
    names = ["cnn_supervised_s0", "resnet_simclr_s0"]
    tables = cut(study, ["digits", "shapes"], names)
    tables["consistency"] = tables["consistency"].iloc[:0]
    tables["consistency_summary"] = study.consistency_summary.head(1).assign(
        reason="fewer than 6 model pairs", measure=choices["measure"]
    )
    tables["noise_ceilings"] = tables["noise_ceilings"].iloc[:0]
    text = Page(build_report(make_content(tables, {}, **choices))).text
    assert "cnn_supervised_s0 and resnet_simclr_s0 have a similarity of" in text
    assert "most similar" not in text
    assert "The table consistency is empty: fewer than 6 model pairs." in text
    assert "it needs two networks that differ in their seed alone, and this run has none." in text
    assert ONE_OF_MANY.findall(text) == []


def test_one_pair_of_stimulus_sets_has_a_consistency_and_no_median(study, choices):
    text = told_of(study, choices, ["digits", "shapes"], list(study.model_cards["model"]))
    assert "(one pair of stimulus sets)" in text
    assert ONE_OF_MANY.findall(text) == []


def test_a_run_without_any_table_gives_a_page_that_says_so(choices):
    page = Page(build_report(make_content({}, {}, **(choices | {"parameters": {}, "measure_facts": []}))))
    assert "No question could be answered" in page.text
    assert "This run compared no networks." in page.text
    assert [anchor for anchor in page.ids if anchor in ANCHORS] == ANCHORS


def test_numbers_that_are_all_undefined_are_no_reason_to_fail(study, drawings, choices):
    blank = {}
    for name, table in study.tables.items():
        floats = [c for c in table.columns if table[c].dtype.kind == "f" and c != "delta"]
        blank[name] = table.assign(**dict.fromkeys(floats, np.nan))
    text = Page(build_report(make_content(blank, drawings, **choices))).text
    assert "360 of 360 similarity values are undefined: no reason given (360)" in text
    assert "216 of 216 probe accuracies are undefined" in text
    assert "98 of 98 relative accuracies are undefined" in text
    assert "nan" not in text.lower().split()


def test_a_table_without_a_column_is_refused_by_name(study, choices):
    with pytest.raises(ValueError, match=r"table 'consistency' lacks the columns \['pearson'\]"):
        make_content({"consistency": study.consistency.drop(columns="pearson")}, {}, **choices)
    with pytest.raises(ValueError, match=r"unknown tables \['probes'\]; known: stimulus_cards, "):
        make_content({"probes": study.consistency}, {}, **choices)


@pytest.mark.slow
def test_hostile_names_are_only_ever_text(hostile_study, hostile_figures, choices):
    earlier = {"similarities": hostile_study.similarities.assign(similarity=0.5)}
    earlier["similarities"].attrs["revision"] = "<img src=x onerror=alert(1)>"
    chosen = choices | {"parameters": {"<b>": "</script><script>alert(2)</script>"}}
    html = build_report(make_content(hostile_study.tables, hostile_figures, earlier=earlier, **chosen))
    page = Page(html)
    assert page.tags.count("script") == 1 + html.count('<script type="application/json" class="marks">')
    for block in re.findall(r'class="marks">(.*?)</script>', html):
        assert "<" not in block
        assert {"texts", "groups"} == set(json.loads(block))
    assert not {"img", "b"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert('cnn_supervised_s0')</script>" in page.text
    assert page.open == []


def test_active_drawings_are_refused():
    for drawing in (
        "<svg><script>alert(1)</script></svg>",
        '<svg><rect onload="alert(1)"/></svg>',
        "<svg><foreignObject/></svg>",
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink"><use xlink:href="javascript:alert(1)"/></svg>',
        '<svg><a href="#x"/></svg>',
        '<svg><image href="data:image/svg+xml;base64,AA"/></svg>',
        '<svg><image href="http://x/y.png"/></svg>',
        '<svg><path style="fill:url(http://x)"/></svg>',
        '<svg><path fill="url( //x)"/></svg>',
        "<svg><set attributeName='onclick'/></svg>",
        '<!DOCTYPE svg><svg><!ENTITY a "b"></svg>',
        '<x:script xmlns:x="http://www.w3.org/1999/xhtml"/>'.join(("<svg>", "</svg>")),
    ):
        with pytest.raises(ValueError, match="figure 'x' holds active content"):
            inline_svg(drawing, "x", "title")
    with pytest.raises(
        ValueError, match=r"figure 'x' is no SVG document .*, received text that starts 'PNG'"
    ):
        inline_svg("PNG", "x", "title")


def test_an_earlier_version_is_compared_row_by_row(study, drawings, choices, measure):
    before = study.similarities.copy()
    before.loc[0, "similarity"] -= 0.25
    before = before.rename(columns={"model_a": "model_b", "model_b": "model_a"}).iloc[:-2]
    before.attrs["revision"] = "first-release"
    earlier = {"similarities": before, "consistency": None}
    text = Page(build_report(make_content(study.tables, drawings, earlier=earlier, **choices))).text
    assert "The earlier version is first-release." in text
    assert (
        "Similarity: 1,438 values in both, 1 of them changed (by at most 0.250); 2 only in this run" in text
    )
    assert "Largest changes of similarity" in text
    assert "Change of consistency" not in text


def test_long_tables_are_cut_and_say_so(study, choices):
    html = build_report(make_content(study.tables, {}, **(choices | {"n_run_rows": 10})))
    assert "10 of 76 rows are shown; all are in the table of the run." in html


def test_cells_carry_the_key_by_which_they_are_sorted():
    frame = pd.DataFrame({"name": ["a", None], "x": [0.123456, np.nan], "ok": [True, None], "n": [1200, 3]})
    columns = {
        "name": Column("name"),
        "x": Column("x", "percent", 1),
        "ok": Column("ok", "truth"),
        "n": Column("n", "count", absent="–"),
    }
    first, second = make_table(frame, columns, "caption").rows
    assert [(cell.text, cell.sort_key) for cell in first] == [
        ("a", "a"),
        ("12.3 %", "0.123456"),
        ("yes", "yes"),
        ("1,200", "1200.0"),
    ]
    assert [(cell.text, cell.sort_key) for cell in second[:3]] == [("–", ""), ("undefined", ""), ("–", "")]


def test_words_and_numbers_read_well():
    assert list_in_words([]) == ""
    assert list_in_words(["a"]) == "a"
    assert list_in_words(["a", "b"]) == "a and b"
    assert list_in_words(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert write_number(-0.5) == "−0.500"
    assert write_number(pd.NA) == write_number(None) == "undefined"


def test_untrained_networks_that_go_on_are_distinguished(study, html):
    results = study.stitching_results
    text = Page(html).text.replace("\u00a0", " ")
    assert "if it is untrained" not in text
    objective = dict(zip(study.model_cards["model"], study.model_cards["objective"], strict=True))
    worst = results.iloc[0]
    [shown] = stitching_in_words(results, objective | {worst["end_model"]: "untrained"})
    n_into = (results["end_model"] == worst["end_model"]).sum()
    assert f"if it is untrained, where the network itself is near chance (n = {n_into})" in shown.replace(
        "\u00a0", " "
    )

"""Words in figures are text, whatever they say: never markup, mathematics or a reference."""

import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from rep_kedro.datasets.figure import render_svg
from rep_kedro.reporting.style import styled
from rep_kedro.reporting.svg import inline_svg

WORDS = [
    "javascript: the good parts",
    "<script>alert(1)</script>",
    "a ]]> b",
    "data:text/html,x",
    "R&D &amp; &lt;",
    "@import 'x'",
    "onload=1",
    ' onclick="x" ',
    " onload='alert(1)'",
    "url(http://x)",
    "url(#a)",
    "</svg></text><b>",
    'id="a" class="b" href="#c"',
    "<!-- -->",
    "<!DOCTYPE x>",
    "<?xml ?>",
    "expression(1)",
    "<style>.a{}</style>",
    "$x",
    "$a_b$ ^2 \\frac{",
    "a_b__c",
    "50 % {x} \\n",
    "\U0001f389 \u6f22\u5b57",
    "\u05e9\u05dc\u05d5\u05dd \u202e x",
    "word " * 80,
    "first\nsecond",
    "bell \x07",
    "'\"'",
    "#a",
    "{{ 7 * 7 }}",
]
DRAWING = {"svg", "style", "defs", "g", "path", "use", "text", "tspan", "clippath", "rect"}


class Drawing(HTMLParser):
    """What a browser makes of a drawing in a page: tags, attributes, the text of each element."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], [""]
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.texts.append("")

    def handle_data(self, data):
        self.texts[-1] += data


@styled
def draw(words):
    figure = Figure()
    axes = figure.subplots()
    axes.bar([words], [1], label=words)
    axes.set_title(words)
    axes.set_xlabel(words)
    axes.legend()
    return figure


@pytest.mark.parametrize("words", WORDS)
def test_every_label_of_a_figure_is_shown_as_the_text_it_is(words):
    drawing = Drawing(inline_svg(render_svg(draw(words)), "f1", words))
    for line in words.replace("\x07", "\N{REPLACEMENT CHARACTER}").split("\n"):
        found = [text for text in drawing.texts if text.strip() == line.strip()]
        assert len(found) == 4, f"{line!r} is shown {len(found)} times"
    assert set(drawing.tags) <= DRAWING
    assert not [name for name, _ in drawing.attributes if name.startswith("on")]
    assert dict(drawing.attributes)["aria-label"] == words


def test_every_mark_is_kept_and_ids_are_those_of_the_figure_alone():
    figure = Figure()
    axes = figure.subplots()
    axes.scatter(range(7), range(7), alpha=0.5)
    axes.plot([1, 2, 3], [3, 1, 2], marker="s", label="marked")
    axes.legend()
    drawing = Drawing(inline_svg(render_svg(figure), "f7", "title"))
    named = {name: [value for key, value in drawing.attributes if key == name] for name in ("id", "href")}
    counts = [named["href"].count(mark) for mark in set(named["href"])]
    assert {7, 4} <= set(counts), "seven points, and three with the legend's"
    clips = re.findall(r"url\(#([^)]+)\)", " ".join(value or "" for _, value in drawing.attributes))
    assert set(named["id"]) == {href[1:] for href in named["href"]} | set(clips)
    assert all(name.startswith("f7") for name in named["id"])


def test_the_rules_and_the_header_of_a_drawing_and_empty_groups_stay_out_of_the_page():
    apart = '<style>@import "x"; p{color:red}</style><metadata>{}</metadata>'
    drawing = inline_svg(f"<svg>{apart}<g> <text> a </text>\n</g></svg>", "x", "t")
    assert drawing == '<svg role="img" aria-label="t"><text> a </text></svg>'

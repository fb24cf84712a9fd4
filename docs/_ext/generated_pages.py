"""Pages of the documentation that follow from the project itself: measures, parameters, decisions.

They are written below ``docs/generated`` before Sphinx reads its sources, so that no list is kept twice.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

from rep_kedro.commands import measures
from rep_kedro.measures import MEASURES, Family, Invariance, Measure
from rep_kedro.measures.measure import NOTATION

ROOT = Path(__file__).parents[2]
LETTERS = dict(zip(Invariance, measures.LETTERS, strict=True))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the generator with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write the generated pages; unchanged files stay untouched."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    pages = {"measures": measures_page(), "parameters": parameters_page(), "decisions": decisions_page()}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def measures_page() -> str:
    """Return the page of all registered measures, one table for each family."""
    letters = "\n".join(f"* **{letter}** {invariance.value}" for invariance, letter in LETTERS.items())
    parts = [
        "# Measures",
        f"{len(MEASURES)} measures, for `similarity.measures`. Letters name the changes of one of the two "
        "networks that leave the value as it is:",
        letters,
        f"Letters of the formulas: {NOTATION}.",
    ]
    names = ("id", "title, formula and source", "range", "fewest stimuli", "unchanged by")
    head = f"| {' | '.join(names)} |\n|{'---|' * len(names)}"
    for family in Family:
        members = [measure for measure in MEASURES.values() if measure.family is family]
        parts += [f"## {family.value.capitalize()}", "\n".join([head, *map(_measure_row, members)])]
    return "\n\n".join(parts) + "\n"


def _measure_row(measure: Measure) -> str:
    low, high = measure.value_range
    notes = "" if measure.larger_is_more_similar else ", distance"
    notes += "" if measure.symmetric else ", directed"
    texts = (measure.title, measure.formula, measure.source)
    cells = [
        f"`{measure.id}`",
        "<br>".join(_escaped(text) for text in texts),
        f"{low:g} to {high:g}{notes}",
        str(measure.fewest_stimuli),
        "".join(letter for invariance, letter in LETTERS.items() if invariance in measure.invariances),
    ]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return re.sub(r"([|*\\])", r"\\\1", text)


def parameters_page() -> str:
    """Return the base configuration with its comments, one section for each file."""
    parts = [
        "# Parameters",
        "The files of `conf/base`. A file `conf/local/parameters.yml` needs only what differs from them.",
    ]
    for path in sorted((ROOT / "conf/base").glob("parameters*.yml")):
        title = path.stem.removeprefix("parameters").strip("_").capitalize() or "Run"
        text = path.read_text(encoding="utf-8").strip()
        parts += [f"## {title}", f"`conf/base/{path.name}`", f"```yaml\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def decisions_page() -> str:
    """Return the list of decision records, each of them below it in the table of contents."""
    names = "\n".join(f"../adr/{name}" for name in _decisions())
    text = "Why the project is built as it is, one record for each decision."
    return f"# Decisions\n\n{text}\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"


def _decisions() -> Iterator[str]:
    for path in sorted((ROOT / "docs/adr").glob("[0-9]*.md")):
        yield path.stem

"""The report's fixed words: questions, captions, what misleads; kept as data next to the template."""

from functools import cache
from pathlib import Path
from typing import Any

TEMPLATE_FOLDER = Path(__file__).with_name("templates")


def read_template(name: str) -> str:
    """Return a file of the template folder as text."""
    return (TEMPLATE_FOLDER / name).read_text(encoding="utf-8")


@cache
def _texts() -> dict[str, Any]:
    import yaml

    texts: dict[str, Any] = yaml.safe_load(read_template("captions.yml"))
    return texts


def figure_texts(name: str) -> dict[str, str]:
    """Return title, reading and misleads of a figure."""
    texts: dict[str, str] = _texts()["figures"][name]
    return texts


def figure_number(name: str) -> int:
    """Return a figure's place among all that have words, for short ids."""
    return list(_texts()["figures"]).index(name)


def section_texts(anchor: str) -> dict[str, str]:
    """Return question and why of a section."""
    texts: dict[str, str] = _texts()["sections"][anchor]
    return texts

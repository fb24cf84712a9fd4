"""The page of the architecture names every room and module by a path that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "rep_kedro"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_path_on_the_page_exists():
    paths = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|yml))`", PAGE))
    assert len(paths) > 10
    assert not [path for path in paths if not (PACKAGE / path).exists() and not (ROOT / path).exists()]


def test_every_room_and_module_of_the_package_is_on_the_page():
    (tree,) = re.findall(r"```\nsrc/rep_kedro/\n(.*?)```", PAGE, flags=re.DOTALL)
    named = set(re.findall(r"\b_?\w+(?:/|\.py\b)", tree))
    rooms = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert not (rooms | modules) - named

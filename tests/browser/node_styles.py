"""The colours of nodes in Kedro-Viz, from their tags; run this file to write ``.viz/styles.json``."""

import json
from pathlib import Path

from rep_kedro.pipeline_registry import register_pipelines

STYLES = Path(__file__).parents[2] / ".viz" / "styles.json"
INK = {"dark": "#F2F2F2", "light": "#1A1A1A"}
COLOURS = {  # neither the green and red of a run's state nor the bright blue of a selection
    "gpu": {
        "dark": {"fill": "#3A2B52", "stroke": "#B79CED"},
        "light": {"fill": "#EDE5FA", "stroke": "#6B3FA0"},
    },
    "cpu": {
        "dark": {"fill": "#20364A", "stroke": "#5F8FB4"},
        "light": {"fill": "#E3EEF7", "stroke": "#3D7199"},
    },
}


def make_styles() -> str:
    """Return the styles as JSON, one name a line; a node and the entries it makes share a colour.

    Raises:
        ValueError: If a node is tagged neither ``gpu`` nor ``cpu``, or both.
    """
    lines = []
    for node in sorted(register_pipelines()["__default__"].nodes, key=lambda node: node.name):
        of_node = sorted(node.tags & COLOURS.keys())
        if len(of_node) != 1:
            raise ValueError(f"node {node.name} has tags {sorted(node.tags)}; give it either gpu or cpu")
        themes = {theme: {**look, "color": INK[theme]} for theme, look in COLOURS[of_node[0]].items()}
        for name in sorted({node.name, *node.outputs}):
            lines.append(f"  {json.dumps(name)}: {json.dumps({'themes': themes})}")
    return "{\n" + ",\n".join(sorted(lines)) + "\n}\n"


if __name__ == "__main__":
    STYLES.write_text(make_styles(), encoding="utf-8")

"""What surrounds the graph: ``make viz`` leaves no process behind, and colours follow the tags."""

import pytest
from tests.browser.conftest import VizServer, is_answering
from tests.browser.node_styles import COLOURS, INK, STYLES, make_styles


@pytest.mark.slow
def test_ctrl_c_ends_make_viz_and_its_server(study):
    server = VizServer(study)
    try:
        server.wait_until_up()
        assert len(server.processes()) >= 3, "make, Kedro-Viz and its server"
        server.press_ctrl_c()
        assert server.processes() == []
        assert not is_answering(f"{server.url}/api/main")
        assert "Traceback" not in server.log.read_text()
    finally:
        server.end()


def test_nodes_have_the_colour_of_their_tag():
    shipped = STYLES.read_text(encoding="utf-8")
    assert shipped == make_styles(), "run python tests/browser/node_styles.py"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_stands_out_from_the_colour_of_its_node(theme):
    for look in COLOURS.values():
        ink, fill = luminance(INK[theme]), luminance(look[theme]["fill"])
        assert (max(ink, fill) + 0.05) / (min(ink, fill) + 0.05) > 7  # WCAG 2.1, AAA


def luminance(colour):
    """Relative luminance of #rrggbb, in [0, 1] (WCAG 2.1)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

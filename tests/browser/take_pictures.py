"""Take the README's pictures of the report and the graph from the results of ``make run``.

Run it from the project's folder: ``python -m tests.browser.take_pictures``.
"""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from tests.browser.conftest import CHROMIUM, VizServer
from tests.small_study import ROOT

IMAGES = ROOT / "docs" / "images"
MAX_BYTES = 250_000
SETTINGS = "localStorage.setItem('KedroViz', JSON.stringify({theme: 'light', showFeatureHints: false}))"


def save_small(png: bytes, path: Path) -> None:
    """Write a picture in as many colours as its size in bytes allows."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for n_colours in (256, 128, 64, 32, 16):
        picture.quantize(n_colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            return
    raise ValueError(f"{path} has {path.stat().st_size} bytes, at most {MAX_BYTES} are wanted")


def take_report(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
    page.goto((ROOT / "data/08_reporting/report.html").as_uri())
    save_small(page.screenshot(), IMAGES / "report.png")


def take_graph(browser: Browser) -> None:
    server = VizServer(ROOT, environment="base")
    try:
        server.wait_until_up()
        page = browser.new_page(viewport={"width": 1250, "height": 1000}, device_scale_factor=2)
        page.add_init_script(SETTINGS)
        page.goto(server.url)
        page.locator(".pipeline-node").first.wait_for()
        page.get_by_text("Dismiss", exact=True).click()
        page.get_by_label("Hide menu").click()
        page.get_by_label("Turn minimap off").click()
        page.wait_for_timeout(2000)  # the graph glides into place
        page.get_by_label("Reset zoom").click()
        page.mouse.move(700, 5)
        page.wait_for_timeout(2000)
        part = {"x": 140, "y": 0, "width": 1110, "height": 1000}  # without tools and version
        save_small(page.screenshot(clip=part), IMAGES / "graph.png")
        server.press_ctrl_c()
    finally:
        server.end()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        take_report(chromium)
        take_graph(chromium)
        chromium.close()

"""The page in a real browser: it sorts, stays quiet, and no name runs."""

import shutil

import pytest

from rep_kedro.reporting.content import make_content
from rep_kedro.reporting.report import build_report

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page; return it with all that it asked for and said."""

    def open_page(html, **options):
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_context(**options).new_page()
        heard = []
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda request: heard.append(request.url) if request.url[:5] == "http:" else None)
        page.goto(path.as_uri())
        return page, heard

    return open_page


def make_page(study, figures, measure):
    return build_report(make_content(study.tables, figures, parameters={}, measure=measure, delta=0.99))


def test_a_click_sorts_by_number_and_a_second_click_turns_it_round(study, figures, measure, opened):
    page, heard = opened(make_page(study, figures, measure))
    header = page.locator("#readout th", has_text="test accuracy")
    for order in ("ascending", "descending"):
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == order
        shown = page.locator("#readout tbody tr td:nth-child(7)").all_inner_texts()
        values = [float(text.removesuffix(" %")) for text in shown]
        assert values == sorted(values, reverse=order == "descending")
    assert heard == []


@pytest.mark.parametrize("width_px", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_any_width_in_light_and_dark(study, figures, measure, opened, width_px, scheme):
    page, heard = opened(
        make_page(study, figures, measure), viewport={"width": width_px, "height": 800}, color_scheme=scheme
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert heard == []


def test_hostile_names_run_nothing(hostile_study, hostile_figures, measure, opened):
    page, heard = opened(make_page(hostile_study, hostile_figures, measure))
    page.locator("#networks th button").first.click()
    assert heard == []
    assert page.locator("script:not([type])").count() == 1

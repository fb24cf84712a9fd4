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


LEADS_THERE = """link => {
  let [gone, there] = [null, null];
  const scrollIntoView = Element.prototype.scrollIntoView;
  Element.prototype.scrollIntoView = function (how) { gone = this; scrollIntoView.call(this, how); };
  link.click();
  Element.prototype.scrollIntoView = scrollIntoView;
  return new Promise((done) => setTimeout(() => {
    const [below, { top, height }] = [bar.getBoundingClientRect().bottom, gone.getBoundingClientRect()];
    const table = gone.querySelector("table");
    const isAtEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 1;
    const isShown = table ? table.offsetHeight > 0 && !table.closest("details:not([open])") : height > 0;
    done(isShown && top >= below - 1 && (top < below + 20 || isAtEnd));
  }, 60));
}"""
LINES = """list => [list.scrollHeight, list.clientHeight, list.querySelector("li").offsetHeight]
  .map((height) => height / parseFloat(getComputedStyle(list).lineHeight))"""


def test_every_place_in_the_list_is_unfolded_and_comes_below_the_bar(study, figures, measure, opened):
    page, heard = opened(make_page(study, figures, measure), viewport={"width": 800, "height": 700})
    folded = page.locator(".table details:not([open]) th[data-networks]")
    n_folded = folded.count()
    page.locator("#search input").fill("a")
    links = page.locator("#search li a")
    links.first.wait_for()
    all_lines, shown_lines, lines_of_one = page.locator("#search ol").evaluate(LINES)
    assert all_lines > shown_lines
    assert [shown_lines, lines_of_one] == pytest.approx([round(shown_lines), round(lines_of_one)], abs=0.06)
    assert [link.inner_text() for link in links.all() if not link.evaluate(LEADS_THERE)] == []
    assert folded.count() < n_folded
    assert heard == []

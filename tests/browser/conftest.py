"""A real browser, and Kedro-Viz as ``make viz`` starts it, on the small study.

Tests marked ``browser`` are left out, and said to be, where there is no Chromium or playwright.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.small_study import BIN, ROOT, run_in

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_LEFT_OUT = pytest.StashKey[int]()


def missing_for_browser() -> str | None:
    """Say what keeps browser tests from running here, if anything does."""
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed (make installs it)"
    if CHROMIUM is None:
        return "no chromium, chromium-browser or google-chrome on PATH (install one, or name it in CHROMIUM)"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reason = missing_for_browser()
    if reason is None:
        return
    marked = [item for item in items if item.get_closest_marker("browser")]
    config.stash[_LEFT_OUT] = len(marked)
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    n_left_out = config.stash.get(_LEFT_OUT, 0)
    if n_left_out:
        terminalreporter.write_line(
            f"browser tests left out: {n_left_out}, because there is {missing_for_browser()}", yellow=True
        )


def find_free_port() -> int:
    """Return a free loopback port of those that Kedro-Viz accepts (below 49152)."""
    start = 20_000 + os.getpid() * 61 % 20_000  # processes that start together try different ones
    for port in range(start, start + 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port among 50 that were tried")


def fetch(url: str) -> bytes:
    """Return what a server of this machine answers."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        return bytes(answer.read())


def is_answering(url: str) -> bool:
    try:
        fetch(url)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


class VizServer:
    """Kedro-Viz started by ``make viz`` in a project's folder, in its own process group as in a terminal."""

    def __init__(self, folder: Path, *, environment: str = "test") -> None:
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = Path(tempfile.gettempdir()) / f"rep_kedro-viz-{port}.log"
        command = ["make", "-s", "-f", str(ROOT / "Makefile"), "-o", ".venv/.installed", "viz", f"BIN={BIN}"]
        command.append(f"VIZ_ARGS=--env={environment} --no-browser --port={port}")
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_up(self, *, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not is_answering(f"{self.url}/api/main"):
            if self._process.poll() is not None or time.monotonic() > end:
                self.end()
                pytest.fail(f"Kedro-Viz did not start:\n{self.log.read_text()}")
            time.sleep(0.2)

    def processes(self) -> list[int]:
        """Return the living processes of the group: make, its shell, Kedro-Viz and its server."""
        listed = subprocess.run(
            ["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split() for line in listed.splitlines()]
        return [int(pid) for pid, group, state in rows if int(group) == self._process.pid and state[0] != "Z"]

    def press_ctrl_c(self) -> None:
        """Interrupt the group as a terminal does; return when all of it has ended, at most 30 s later."""
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(timeout=30)
        end = time.monotonic() + 30
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)

    def end(self) -> None:
        """End whatever is left of the group."""
        if self.processes():
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)


@pytest.fixture(scope="session")
def viz(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VizServer]:
    """Kedro-Viz on a copy of the small study whose last run was a whole one, up and running."""
    folder = Path(shutil.copytree(study, tmp_path_factory.mktemp("viz") / "study"))
    run_in(folder, "kedro", "run", "--env=test")
    server = VizServer(folder)
    try:
        server.wait_until_up()
        yield server
        server.press_ctrl_c()
    finally:
        server.end()


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window; one at a time, as playwright wants it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page that reaches nothing beyond this machine, and remembers what it asked for and complained of."""

    def __init__(self, browser, **options) -> None:
        context = browser.new_context(**{"viewport": {"width": 1600, "height": 1000}, **options})
        self.page = context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.route("**/*", self._route)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _route(self, route) -> None:
        url = route.request.url
        if url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")):
            route.continue_()
        else:
            self.asked.append(url)
            route.abort()

    def _hear(self, message) -> None:
        is_refused_request = message.location.get("url") in self.asked
        if message.type in ("error", "warning") and not is_refused_request:
            self.complaints.append(message.text)


@pytest.fixture
def open_page(browser):
    """Open pages with options of the browser context; they are closed after the test."""
    opened: list[Opened] = []

    def open_one(**options) -> Opened:
        opened.append(Opened(browser, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.page.context.close()

"""Ctrl-C and SIGTERM at any instant: one line, exit 130 or 143, no process and no temporary file left."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.project.conftest import copy_project

from rep_kedro import interrupts
from rep_kedro.cli import cli
from rep_kedro.commands.command import _reported

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
TAG = "REP_KEDRO_TEST_TAG"
FOREVER_S = 300  # no test waits that long unless something is broken
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc"),
]


def start(folder: Path, *options: str, module: str = "rep_kedro") -> subprocess.Popen[str]:
    """Start a run in a group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", module, "run", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), TAG: str(folder)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for an event; fail if it never comes."""
    until = time.monotonic() + FOREVER_S
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def answers_signals(pid: int) -> bool:
    """Tell whether a process has its own handler for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def processes_of(folder: Path) -> list[int]:
    """Return the processes that were started, however far down, by a run in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{TAG}={folder}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def temporary_of(folder: Path) -> list[Path]:
    places = [*(folder / "data").rglob("*.partial"), *Path(tempfile.gettempdir()).glob("rep_kedro-workers-*")]
    return [place for place in places if place.exists()]


def require_ended_well(process: subprocess.Popen[str], number: signal.Signals, folder: Path) -> str:
    """Check exit code, processes and files after a signal; return the output."""
    shown = process.communicate()[1]
    assert process.returncode == CODES[number], shown
    assert shown.count("error: ") == 1
    assert "Traceback" not in shown
    assert "Exception ignored" not in shown
    assert processes_of(folder) == []
    assert temporary_of(folder) == []
    return shown


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_signal_at_any_instant_is_answered_in_one_line(
    number: signal.Signals, seed: int, tmp_path: Path
) -> None:
    folder = copy_project(tmp_path)
    process = start(folder, "--env=test", "--pipelines=ingest,training")
    wait_for(lambda: answers_signals(process.pid))
    time.sleep(random.Random(seed).uniform(0, 4))  # noqa: S311 - any instant will do
    process.send_signal(number)
    require_ended_well(process, number, folder)


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("event", ["2 processes: networks", "[1/2] "])
def test_a_signal_ends_the_workers_too(number: signal.Signals, event: str, tmp_path: Path) -> None:
    folder = copy_project(tmp_path)
    process = start(folder, "--env=test", "--pipelines=ingest,training", "--workers=2")
    assert process.stderr is not None
    assert any(event in line for line in process.stderr)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    require_ended_well(process, number, folder)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    folder = copy_project(tmp_path)
    process = start(folder, "--env=test", "--pipelines=ingest,training", "--workers=2")
    assert process.stderr is not None
    assert any("[1/2] " in line for line in process.stderr)
    process.kill()
    process.communicate()
    wait_for(lambda: processes_of(folder) == [])


def test_a_worker_that_cannot_answer_ends_with_its_parent_all_the_same() -> None:
    code = (
        "import signal, time; from rep_kedro import interrupts; interrupts.watch_parent();"
        "signal.signal(signal.SIGTERM, lambda *_: None); print('ready', flush=True); time.sleep(600)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, interrupts.WORKER_VARIABLE: "{}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    try:
        worker.communicate(timeout=30)
    finally:
        worker.kill()
    assert worker.returncode == CODES[signal.SIGTERM]


def test_kedro_s_own_command_answers_from_the_settings_on(tmp_path: Path) -> None:
    folder = copy_project(tmp_path)
    process = start(folder, "--env=test", "--pipelines=ingest", module="kedro")
    wait_for(lambda: answers_signals(process.pid))
    process.send_signal(signal.SIGINT)
    require_ended_well(process, signal.SIGINT, folder)


def test_the_project_s_commands_are_known_to_both() -> None:
    assert set(cli.list_commands(None)) == interrupts.COMMANDS  # type: ignore[arg-type]


@pytest.fixture
def unsignalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test raise a signal in this process, and forget it."""
    before = {number: signal.getsignal(number) for number in CODES}
    monkeypatch.setattr(interrupts, "_received", None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CODES)
def test_the_exit_code_is_that_of_the_signal_inside_exec_too(number: signal.Signals, tmp_path: Path) -> None:
    """Python itself would end by SIGINT after an interrupt in code that comes as text."""
    (tmp_path / "interrupted.py").write_text(
        "import signal\nfrom rep_kedro.commands.command import _reported\n"
        f"with _reported():\n    exec('signal.raise_signal({int(number)})')\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == CODES[number], ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", CODES)
@pytest.mark.usefixtures("unsignalled")
def test_an_error_that_an_interrupted_import_makes_is_no_error(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted_import() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ImportError("an import that was interrupted") from None

    with pytest.raises(SystemExit) as ended, _reported():
        interrupted_import()
    assert ended.value.code == CODES[number]
    assert capsys.readouterr().err.count("finished results are kept") == 1


@pytest.mark.usefixtures("unsignalled")
def test_a_worker_leaves_the_word_to_its_parent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(interrupts.WORKER_VARIABLE, "{}")
    with pytest.raises(SystemExit) as ended, _reported():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
    assert capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # once is enough


@pytest.mark.usefixtures("unsignalled")
def test_handlers_are_as_before_after_a_command() -> None:
    before = signal.getsignal(signal.SIGINT)
    with _reported():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before

"""What all tests share: no network beyond this machine, and quiet, repeatable libraries."""

import gc
import ipaddress
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Generator
from typing import Any

import pytest
from tests.small_study import own_study, study

import rep_kedro  # noqa: F401 - before any test imports torchvision, which needs it with a CPU build of torch

__all__ = ["own_study", "study"]

os.environ.update(
    HF_HUB_OFFLINE="1", DO_NOT_TRACK="1", KEDRO_DISABLE_TELEMETRY="1", DVC_NO_ANALYTICS="1", NO_COLOR="1"
)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: a second thread only waits
# each of the many processes that tests start would otherwise compile the project again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("REP_KEDRO_CACHE", os.path.join(tempfile.gettempdir(), "rep_kedro-test-cache"))
if threading.current_thread() is threading.main_thread():
    # started in the background, tests and all they start would ignore Ctrl-C, which some of them test
    signal.signal(signal.SIGINT, signal.default_int_handler)

# first the file that makes the small study; another process meanwhile draws figures and needs no study
FIRST = ("tests/project/test_user_errors.py", "tests/reporting/", "tests/project/", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long files early, so that no process ends long before the others."""
    items.sort(key=lambda item: next(i for i, start in enumerate(FIRST) if item.nodeid.startswith(start)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keep what collecting imports out of garbage collection, which otherwise visits it all each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole files, and all of the report to one: its tests share figures, slow to draw."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return (
                "tests/reporting/" if nodeid.startswith("tests/reporting/") else super()._split_scope(nodeid)
            )

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def _is_loopback(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a socket file
    host = str(address[0])
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if not _is_loopback(address):
            raise RuntimeError(f"tests must not reach the network, but {address} was asked for")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)

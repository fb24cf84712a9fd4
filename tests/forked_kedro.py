"""Runs Kedro commands in processes that are forked from one that has imported the libraries.

A command of its own process spends four to five seconds on importing torch, Kedro and pandas, most of what
a test of a small run takes. Here one process per test session imports them once, but nothing of the project:
each fork imports that from the folder in which its command runs. It then ends as any process does. Tests of
the start of a process, of signals and of the environment use ``subprocess``. Where many short commands run on
one unchanged project, they can be forked from a process that has imported it too.

Run as a script, this file is that process; orders come through the socket that it inherits.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock

_LARGEST_ORDER = 1 << 17
_STARTING = Lock()
_LIBRARIES = (
    *("kedro.framework.cli", "kedro.framework.session", "kedro.framework.context", "kedro.ipython"),
    *("kedro.config", "kedro.runner", "kedro_datasets", "rich.logging", "tqdm.contrib.logging", "dvc.api"),
    *("numpy", "pandas", "pyarrow.parquet", "pyarrow.compute", "pyarrow.dataset", "PIL.Image", "jinja2"),
    *("scipy.stats", "scipy.optimize", "scipy.linalg", "scipy.cluster.hierarchy", "scipy.spatial.distance"),
    *("sklearn.datasets", "sklearn.manifold", "sklearn.cluster", "sklearn.decomposition", "sklearn.metrics"),
    *("torch", "torch._dynamo", "torch.optim", "torch.utils.flop_counter", "safetensors.torch"),
    *("torchvision", "timm", "open_clip"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg"),
)


def run_forked(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], *, has_project: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run ``kedro`` with some arguments in a folder; return its exit code (negative: a signal) and output.

    With ``has_project`` the code is that of this checkout, whatever the folder has.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        order = {"folder": str(folder), "arguments": list(arguments), "environment": dict(environment)}
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                fds = [out.fileno(), err.fileno(), theirs.fileno()]
                with _STARTING:
                    mother = _mother_with_project() if has_project else _mother()
                socket.send_fds(mother, [json.dumps(order).encode()], fds)
            ended = ours.recv(64)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess(["kedro", *arguments], int(ended), *texts)


@cache
def _mother() -> socket.socket:
    """Start the process that forks; it ends when its socket is closed, at the latest when this one ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    atexit.register(_end, ours, process)
    return ours


@cache
def _mother_with_project() -> socket.socket:
    """Start a process that forks, as a fork of the first one; it ends when its socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(_mother(), [b"null"], [theirs.fileno()])
    atexit.register(ours.close)
    return ours


def _end(orders: socket.socket, mother: subprocess.Popen[bytes]) -> None:
    orders.close()
    mother.wait()


def _next_order(orders: socket.socket) -> list[str]:
    """Fork for each order; return its arguments, in the fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, fds, *_ = socket.recv_fds(orders, _LARGEST_ORDER, 3)
        if not order:
            os._exit(0)
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    orders.close()
    if (content := json.loads(order)) is None:
        from rep_kedro.commands import run  # noqa: F401 - the project as it is installed
        from rep_kedro.pipeline_registry import register_pipelines

        register_pipelines()
        gc.freeze()
        return _next_order(socket.socket(fileno=fds[0]))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        os.write(fds[2], str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    for fd, standard in zip(fds, (1, 2), strict=False):
        os.dup2(fd, standard)
    for fd in fds:
        os.close(fd)
    os.chdir(content["folder"])
    os.environ.clear()
    os.environ.update(content["environment"])
    return list(content["arguments"])


if __name__ == "__main__":
    # kept, as torch forgets the operators with the module that declares them
    torchvision_module = runpy.run_path(str(Path(__file__).parents[1] / "src/rep_kedro/_torchvision.py"))
    torchvision_module["declare_torchvision_operators"]()
    for library in _LIBRARIES:
        import_module(library)
    gc.freeze()
    arguments = _next_order(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = [str(Path(sys.executable).with_name("kedro")), *arguments]
    from kedro.framework.cli import main

    sys.exit(main())

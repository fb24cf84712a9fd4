"""Training that gives the same bytes on every x86-64 processor with AVX2.

The libraries under torch choose their code by the processor, once, when they are loaded. Training therefore
runs in a process of its own, with the choice made in its environment: one thread, AVX2 for torch and oneDNN,
and for MKL the branch that is the same for all makers (docs/adr/0010). The process is given its job as JSON
on its input, writes each network on its output as it is ready, and ends with its parent.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from rep_kedro.datasets import ArrowDataset, Tensors
from rep_kedro.errors import NotFiniteError, UserError
from rep_kedro.models.foreign import read_definition
from rep_kedro.training.params import NetworkSpec
from rep_kedro.training.schedule import Schedule

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle
    from rep_kedro.training.work import Networks

ARITHMETIC = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
"""The environment that fixes the arithmetic; part of the recipes."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_IN_THE_WAY = ("DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "GLIBC_TUNABLES")
_ERRORS: dict[str, type[Exception]] = {
    each.__name__: each for each in (NotFiniteError, UserError, ValueError, ArithmeticError)
}
_END_S = 10
_log = logging.getLogger(__name__)


def train_portably(
    names: Sequence[str], networks: "Networks", handle: "ArrowHandle"
) -> Iterator[tuple[str, Tensors | Exception]]:
    """Train networks as :func:`~.work.train_networks` does, in a process of its own.

    Raises:
        RuntimeError: If the process ends before its job is done; its error output says why.
    """
    is_portable = _has_avx2()
    if not is_portable:
        _log.warning(
            "training.portable needs an x86-64 processor with AVX2, which this machine does not have:"
            " its networks differ from those of other machines in their last digits"
        )
    job = {
        "stimulus_set": str(handle.path),
        "portable": is_portable,
        "networks": {
            name: {
                "architecture": spec.architecture,
                "definition": definition.model_dump(mode="json", by_alias=True),
                "objective": spec.objective,
                "seed": spec.seed,
                "schedule": spec.schedule and spec.schedule.model_dump(mode="json"),
                "options": spec.options,
            }
            for name, (spec, definition) in ((name, networks[name]) for name in names)
        },
    }
    with _started(job, ARITHMETIC if is_portable else {}) as process:
        for _ in names:
            yield _receive(process)


@contextmanager
def _started(job: dict[str, Any], settings: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a training process with its job; end it when the caller is done with it."""
    environment = {name: value for name, value in os.environ.items() if name not in _IN_THE_WAY}
    sources = str(Path(__file__).parents[2])
    paths = [sources, *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {**settings, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", __name__],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for the parent, which then ends this process
    )
    try:
        if process.stdin is None:
            raise RuntimeError("the training process has no input")
        with suppress(BrokenPipeError):  # reading its first result reports why it ended
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate(timeout=_END_S)


def _receive(process: "subprocess.Popen[bytes]") -> tuple[str, Tensors | Exception]:
    """Read one result: a line of JSON, then the tensors as safetensors."""
    from safetensors.numpy import load

    head = process.stdout.readline() if process.stdout is not None else b""
    if not head.endswith(b"\n"):
        code = process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise RuntimeError(
            f"the training process ended with {how} before its work was done; see its error above"
        )
    result = json.loads(head)
    if "error" in result:
        problem = _ERRORS.get(result["kind"], RuntimeError)(result["error"])
        if not isinstance(problem, UserError):
            problem.add_note(result["traceback"])
        return result["name"], problem
    content = process.stdout.read(result["n_bytes"]) if process.stdout is not None else b""
    return result["name"], Tensors(load(content), result["meta"])


def _has_avx2() -> bool:
    """Return whether the processor has the instructions, whatever torch in this process is limited to."""
    import torch

    return bool(torch.cpu._is_avx2_supported())


def main() -> None:
    """Do one job: read it from the input, write each network to the output."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not mix with the results
        job = json.loads(sys.stdin.buffer.readline())
        Thread(target=_end_with_parent, daemon=True).start()
        _work(job, output)


def _end_with_parent() -> None:
    """End this process when its parent's end of the pipe closes, which it does however the parent ends."""
    while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold when the process ends by itself
        pass
    os._exit(1)


def _work(job: dict[str, Any], output: IO[bytes]) -> None:
    from safetensors.torch import save

    from rep_kedro.training.work import train_networks

    networks = {
        name: (
            NetworkSpec(
                wanted["architecture"],
                wanted["objective"],
                wanted["seed"],
                wanted["schedule"] and Schedule.model_validate(wanted["schedule"]),
                wanted["options"],
            ),
            read_definition(wanted["definition"]),
        )
        for name, wanted in job["networks"].items()
    }
    handle: Any = ArrowDataset.open_checked(Path(job["stimulus_set"]))
    head: dict[str, Any]
    for name, trained in train_networks(list(networks), networks, handle, portable=job["portable"]):
        if isinstance(trained, Exception):
            kind = next((each.__name__ for each in type(trained).__mro__ if each.__name__ in _ERRORS), "")
            where = "".join(traceback.format_exception(trained))
            content, head = b"", {"name": name, "kind": kind, "error": str(trained), "traceback": where}
        else:
            content = save({key: value.contiguous() for key, value in trained.tensors.items()})
            head = {"name": name, "n_bytes": len(content), "meta": trained.meta}
        output.write(json.dumps(head).encode() + b"\n" + content)
        output.flush()


if __name__ == "__main__":
    main()

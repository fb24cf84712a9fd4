"""Trainings in processes of their own: how these are started, what they are sent, and what they return.

A process is given its job as a line of JSON on its input, writes each network on its output as it is ready,
and ends with its parent. Where a network is trained on several devices, there is a process for each
(`data_parallel`): all get the same job, the first returns networks, and the others nothing but errors.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from rep_kedro.datasets import ArrowDataset, Tensors
from rep_kedro.errors import NotFiniteError, UserError
from rep_kedro.models.foreign import read_definition
from rep_kedro.training.params import Checkpoints
from rep_kedro.training.spec import NetworkSpec, PlannedNetwork

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle
    from rep_kedro.training.work import Networks, Place

Process = subprocess.Popen[bytes]
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ONE_MACHINE = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
_IN_THE_WAY = ("DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "GLIBC_TUNABLES")


class _KilledError(UserError, RuntimeError):
    """A process was ended from outside; what the processes that waited for it report follows from this."""


_ERRORS: dict[str, type[Exception]] = {
    each.__name__: each for each in (NotFiniteError, UserError, ValueError, ArithmeticError)
}
_END_S = 10  # for a process that was killed, or whose work is done, to end
_GRACE_S = 10  # for the first process to fail by itself where another one did


def train_on_devices(
    names: Sequence[str], networks: "Networks", stimulus_sets: "Mapping[str, ArrowHandle]", place: "Place"
) -> "Iterator[tuple[str, Tensors | Exception]]":
    """Train networks as :func:`~.work.train_networks` does, each on all devices at once.

    Each has processes of its own, so that one of which a process ends does not stop the others.
    """
    from rep_kedro.training.work import by_training

    for wanted in by_training(names).values():
        yield from train_in_processes([*wanted], networks, stimulus_sets, place)


def train_in_processes(
    names: Sequence[str],
    networks: "Networks",
    stimulus_sets: "Mapping[str, ArrowHandle]",
    place: "Place",
    settings: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, Tensors | Exception]]:
    """Train networks as :func:`~.work.train_networks` does, in processes of their own.

    There is one for each device, or `place.n_at_once` of them, each with every so many-th training. Where one
    ends before its work is done, all that it owes is a RuntimeError; its error output says why.

    Args:
        names: Which networks and snapshots.
        networks: All that are planned.
        stimulus_sets: By name.
        place: Where and how.
        settings: Variables of the processes' environment.
    """
    from rep_kedro.training.work import by_training

    trainings = list(by_training(names).values())
    results: SimpleQueue[tuple[str, Tensors | Exception]] = SimpleQueue()
    n_shares = min(place.n_at_once, len(trainings))
    place = replace(place, memory_bytes=max(1, place.memory_bytes // n_shares))
    with ExitStack() as stack:
        for first in range(n_shares):
            share = [name for wanted in trainings[first::n_shares] for name in wanted]
            job = _describe_job(share, networks, stimulus_sets, place)
            meeting = stack.enter_context(tempfile.TemporaryDirectory())
            processes = stack.enter_context(_started(job, meeting, settings or {}))
            Thread(target=_pass_on, args=(processes, share, results), daemon=True).start()
        for _ in names:
            yield results.get()


def _describe_job(
    names: Sequence[str], networks: "Networks", stimulus_sets: "Mapping[str, ArrowHandle]", place: "Place"
) -> dict[str, Any]:
    return {
        "stimulus_sets": {name: str(handle.path) for name, handle in stimulus_sets.items()},
        "device": place.device,
        "n_devices": place.n_devices,
        "portable": place.portable,
        "memory_bytes": place.memory_bytes,
        "checkpoints": place.checkpoints and place.checkpoints.model_dump(mode="json"),
        "networks": {
            name: {
                "spec": networks[name].spec.model_dump(mode="json"),
                "definition": networks[name].architecture.model_dump(mode="json", by_alias=True),
                "digest": networks[name].digest,
            }
            for name in names
        },
    }


def _pass_on(
    processes: Sequence[Process],
    names: Sequence[str],
    results: "SimpleQueue[tuple[str, Tensors | Exception]]",
) -> None:
    """Put a result for each name into the queue, in a thread of its own, whatever happens."""
    waiting = list(names)
    try:
        others = _Others(processes[0], processes[1:])
        while waiting:
            name, result = others.earliest(*_receive(processes[0]))
            waiting.remove(name)
            results.put((name, result))
    except Exception as problem:  # for the reader, who waits for all names
        for name in waiting:
            results.put((name, problem))


@contextmanager
def _started(job: dict[str, Any], meeting: str, settings: Mapping[str, str]) -> Iterator[list[Process]]:
    """Start a process for each device with its job; end them when the caller is done with them."""
    environment = {name: value for name, value in os.environ.items() if name not in _IN_THE_WAY}
    sources = str(Path(__file__).parents[2])
    paths = [sources, *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {
        **settings,
        **_ONE_THREAD,
        **_ONE_MACHINE,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    processes: list[Process] = []
    try:
        for rank in range(job["n_devices"]):
            process = subprocess.Popen(  # noqa: S603 - this program
                [sys.executable, "-m", __name__],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C is for the parent, which then ends this process
            )
            processes.append(process)
            if process.stdin is None:
                raise RuntimeError("the training process has no input")
            with suppress(BrokenPipeError):  # reading its first result reports why it ended
                process.stdin.write(json.dumps({**job, "rank": rank, "meeting": meeting}).encode() + b"\n")
                process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_END_S)
            for pipe in filter(None, (process.stdin, process.stdout)):
                with suppress(BrokenPipeError):
                    pipe.close()


class _Others:
    """The processes that train along with the first; if one fails, the first, which waits for it, ends."""

    def __init__(self, first: Process, others: Sequence[Process]) -> None:
        self._first = first
        self._problems: list[tuple[float, Exception]] = []
        self._has_ended_first = False
        self._watching = [
            Thread(target=self._watch, args=(rank, process), daemon=True)
            for rank, process in enumerate(others, start=1)
        ]
        for thread in self._watching:
            thread.start()

    def earliest(self, at: float, name: str, result: Tensors | Exception) -> tuple[str, Tensors | Exception]:
        """Return what the first process gave, or instead of its error an earlier one, which caused it."""
        if isinstance(result, Exception):
            for thread in self._watching:
                thread.join(_END_S)
            problems = [(at, result), *self._problems]
            if self._has_ended_first:  # which says nothing by itself
                problems = self._problems
            _, result = min(problems, key=lambda each: (not isinstance(each[1], _KilledError), each[0]))
        if name == _ENDED and isinstance(result, Exception):
            raise result
        return name, result

    def _watch(self, rank: int, process: Process) -> None:
        at, name, result = _receive(process)
        if name == _ENDED and process.returncode == 0:
            return  # its part is done
        if isinstance(result, Exception):
            result.add_note(f"in process {rank} of this training")
            self._problems.append((at, result))
        with suppress(subprocess.TimeoutExpired):
            self._first.wait(_GRACE_S)
            return
        self._has_ended_first = True
        self._first.kill()


_ENDED = ""


def _receive(process: Process) -> tuple[float, str, Tensors | Exception]:
    """Read one result: a line of JSON, then the tensors as safetensors.

    Returns:
        When it was there, by a clock that all processes share, the name, and the network or its error; the
        name `_ENDED` and an error if the process ended instead.
    """
    from safetensors.numpy import load

    head = process.stdout.readline() if process.stdout is not None else b""
    if not head.endswith(b"\n"):
        code = process.wait()
        return time.monotonic(), _ENDED, _why_ended(code)
    result = json.loads(head)
    if "error" in result:
        problem = _ERRORS.get(result["kind"], RuntimeError)(result["error"])
        if not isinstance(problem, UserError):
            problem.add_note(result["traceback"])
        return result["at"], result["name"], problem
    content = process.stdout.read(result["n_bytes"]) if process.stdout is not None else b""
    return result["at"], result["name"], Tensors(load(content), result["meta"], result["journal"])


def _why_ended(code: int) -> Exception:
    if code < 0:
        return _KilledError(
            f"a process of this training was ended by {signal.Signals(-code).name} before its work was done,"
            " by another program or for want of memory; run again to go on"
        )
    return RuntimeError(
        f"the training process ended with exit code {code} before its work was done; see its error above"
    )


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
        name: PlannedNetwork(
            NetworkSpec.model_validate(wanted["spec"]),
            read_definition(wanted["definition"]),
            wanted["digest"],
        )
        for name, wanted in job["networks"].items()
    }
    sets: Any = {name: ArrowDataset.open_checked(Path(path)) for name, path in job["stimulus_sets"].items()}
    for name, trained in train_networks(list(networks), networks, sets, _place_of(job)):
        head: dict[str, Any] = {"name": name, "at": time.monotonic()}
        content = b""
        if isinstance(trained, Exception):
            kind = next((each.__name__ for each in type(trained).__mro__ if each.__name__ in _ERRORS), "")
            where = "".join(traceback.format_exception(trained))
            head |= {"kind": kind, "error": str(trained), "traceback": where}
        elif job["rank"] == 0:
            content = save({key: value.contiguous() for key, value in trained.tensors.items()})
            head |= {"n_bytes": len(content), "meta": trained.meta, "journal": trained.journal}
        else:
            continue
        output.write(json.dumps(head).encode() + b"\n" + content)
        output.flush()


def _place_of(job: dict[str, Any]) -> "Place":
    """Return where this process trains; with others it meets them first."""
    from rep_kedro.training.work import Place

    checkpoints = job["checkpoints"] and Checkpoints.model_validate(job["checkpoints"])
    place = Place(
        job["device"],
        job["n_devices"],
        portable=job["portable"],
        memory_bytes=job["memory_bytes"],
        checkpoints=checkpoints,
        is_own_process=True,
    )
    if job["n_devices"] == 1:
        return place
    from rep_kedro.training.data_parallel import Processes

    if job["rank"] > 0:
        logging.disable(logging.WARNING)  # the first process says the same
    processes = Processes(Path(job["meeting"]), job["rank"], job["n_devices"], job["device"])
    return replace(place, device=processes.device, processes=processes)


if __name__ == "__main__":
    main()

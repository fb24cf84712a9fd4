"""Trainings of a small network in two processes; what test_data_parallel compares with one process.

Run as a script with a folder: every case, one that stores its state and is stopped, and one that goes on from
the state that it finds. A script of its own, because a process that has computed gradients cannot be forked.
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn

from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.training.data_parallel import Processes
from rep_kedro.training.loop import train_in_moments
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.state import StateFile
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

CASES = {
    "supervised": ("small_resnet", "supervised", {}, {}),
    "supervised twice": ("cnn", "supervised", {}, {"accumulate": 2}),
    "simclr of rank 4": ("cnn", "simclr", {"target_rank": 4}, {}),
    "vicreg": ("cnn", "vicreg", {}, {}),
    "byol": ("cnn", "byol", {"momentum": 0.5}, {}),
}
STOPPED = "simclr of rank 4"


def train(case, processes=None, state_file=None, **how):
    """Train; yields moments."""
    architecture, objective, options, schedule = CASES[case]
    generator = torch.Generator().manual_seed(1)
    train, test = (
        LabelledImages(
            torch.randint(0, 255, (n, 3, 16, 16), generator=generator, dtype=torch.uint8), torch.arange(n) % 3
        )
        for n in (24, 7)  # two processes cannot take equal shares of seven
    )
    settings = {"preset": "sgd", "epochs": 2, "batch_size": 8, "learning_rate": 0.01, **schedule}
    return train_in_moments(
        "net",
        load_architecture(architecture),
        make_objective(objective, options),
        seed=0,
        schedule=Schedule(**settings),
        stimuli=TrainingStimuli(train, test, 3),
        state_file=state_file,
        processes=processes,
        **how,
    )


def numbers(moments):
    """Return weights, buffers and history of the trained network as plain numbers."""
    (*_, (_, trained)) = moments
    state = {name: value.double() for name, value in trained.network.state_dict().items()}
    if trained.projector is not None:
        state |= {f"projector/{k}": v.double() for k, v in trained.projector.state_dict().items()}
    return state, [{k: float(v) for k, v in row.items()} for row in trained.history]


class _Norms(nn.Module):
    """Batch norms without parameters, without running statistics, and with their plain mean."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.of_maps = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)
        self.linear, self.of_rows = nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False)
        self.last = nn.BatchNorm1d(5, momentum=None)

    def forward(self, x):
        rows = self.linear(self.of_maps(self.conv(x)).mean((2, 3)))
        if x.isnan().any():
            raise ArithmeticError
        return self.last(torch.tanh(self.of_rows(rows)))


def join_norms(processes=None):
    """Return gradients and statistics after two passes, one of which fails in between."""
    network, generator = _Norms(), torch.Generator().manual_seed(0)
    if processes is not None:
        processes.share(network)
    images, wanted = torch.randn(2, 8, 3, 6, 6, generator=generator), torch.randn(8, 5, generator=generator)
    network(images[0])
    try:
        network(images[0] * torch.nan)
    except ArithmeticError:
        network.of_maps.reset_running_stats()
    (network(images[1]) * wanted).square().sum().backward()
    if processes is not None:
        processes.join_gradients(network.parameters(), [])
    # a bias before a batch norm has no gradient but rounding
    before_norms = ("conv.bias", "linear.bias")
    found = {name: each.grad for name, each in network.named_parameters() if name not in before_norms}
    return {**found, **{name: each.double() for name, each in network.named_buffers()}}


class Stopped(BaseException):
    """As a kill."""


class StoppedAfter(StateFile):
    """A state file whose process ends right after it has written so many states; without `stores` none."""

    def __init__(self, folder, n_left, *, stores=True):
        seconds = 0.0 if stores else float("inf")
        super().__init__(folder, "net", {"recipe": "r"}, seconds=seconds, steps=1)
        self.n_left = n_left

    def save(self, state):
        super().save(state)
        self.n_left -= 1
        if self.n_left == 0:
            raise Stopped


def _work(folder, processes):
    found = {case: numbers(train(case, processes)) for case in CASES}
    found["norms"] = join_norms(processes)
    stores = processes.rank == 0
    found["gone on"] = numbers(train(STOPPED, processes, StoppedAfter(folder / "of one", -1, stores=stores)))
    if stores:
        torch.save(found, folder / "found.pt")
    train_on = train(STOPPED, processes, StoppedAfter(folder / "of two", 2, stores=stores))
    for _ in train_on:  # the first process stops, the other finds it gone
        pass


def main(folder):
    """Fork, and wait for the forks."""
    torch.set_num_threads(1)
    children = []
    for rank in (0, 1):
        if (pid := os.fork()) == 0:
            try:
                _work(folder, Processes(folder, rank, 2, "cpu"))
            except Stopped:
                os._exit(9)
            except RuntimeError as problem:
                sys.stdout.write(f"{problem}\n")
                sys.stdout.flush()
                os._exit(8)
            finally:
                os._exit(1)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1])) == [9, 8] else 1)

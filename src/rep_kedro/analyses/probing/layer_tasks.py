"""What there is to probe in a network: pooled maps, positions, attention to them; and how much it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.errors import UserError

FLOAT = 4
COPIES = 2  # of activations while they are pooled, of a probe's features while their training part is fitted
BYTES = {"float16": 2, "float32": 4}
POSITIONS = "positions"
ATTENTIVE = "attentive"


class Output(NamedTuple):
    """What a layer gives for one stimulus.

    Attributes:
        n_channels: Channels, features of each token, or features.
        sides: Height and width of a map, the number of tokens, or nothing.
        grid: Rows and columns of the patches among tokens, where they are on a grid.
        n_prefix: Tokens before the patches: class token and registers.
    """

    n_channels: int
    sides: tuple[int, ...]
    grid: tuple[int, int] | None = None
    n_prefix: int = 0

    @property
    def n_positions(self) -> int:
        """Positions of a map, or tokens."""
        return prod(self.sides)


@dataclass(frozen=True)
class Task:
    """Features of one layer that wait for their probes together.

    Attributes:
        layer: Name of the layer.
        readout: ``4x4`` for a map pooled to at most 4 x 4 positions, ``positions``, or ``attentive``.
        n_channels: Channels of the map or of tokens, or features of a layer without positions.
        height: Rows of positions: of the pooled map, or of the map itself; or the number of tokens.
        width: Columns of positions.
        first: The first position of this task, counted along rows; 0 unless a layer is split.
        n_positions: How many positions are in this task.
        grid: Rows and columns of patches, if tokens are read as their map.
        n_prefix: Tokens before the patches, which are then left out.
    """

    layer: str
    readout: str
    n_channels: int
    height: int
    width: int
    first: int
    n_positions: int
    grid: tuple[int, int] | None = None
    n_prefix: int = 0

    @property
    def n_numbers(self) -> int:
        """Numbers for each stimulus."""
        return self.n_channels * self.n_positions

    @property
    def n_features(self) -> int:
        """Features of one probe; of an attentive one, those of each position or token."""
        return self.n_channels if self.readout in {POSITIONS, ATTENTIVE} else self.n_numbers

    @property
    def n_inputs(self) -> int:
        """Numbers of each stimulus that one probe reads."""
        return self.n_channels if self.readout == POSITIONS else self.n_numbers

    @property
    def key(self) -> str:
        """What the member is called within network and stimulus set."""
        return f"{self.layer}+{self.readout}"


def list_tasks(outputs: Mapping[str, Output], params: LayerProbesParams) -> list[Task]:
    """Return what is probed in a network, in the order of its layers.

    Args:
        outputs: Of each chosen layer.
        params: Sides, and whether positions are probed or attended to.

    Raises:
        UserError: If a layer has no positions or tokens to attend to, or tokens that are not on a grid are to
            be pooled or probed position by position.
    """
    tasks = []
    if params.attentive:
        _require_positions(outputs)
    for layer, output in outputs.items():
        n_channels, sides, grid, n_prefix = output
        if params.pooled_sides or params.positions:
            _require_grid(layer, output)
        height, width = (*(grid or sides), 1, 1)[:2]
        for side in sorted(params.pooled_sides):
            rows, columns = min(side, height), min(side, width)
            size = (rows, columns, 0, rows * columns)
            tasks.append(Task(layer, f"{side}x{side}", n_channels, *size, grid, n_prefix))
        if params.positions and height * width > 1:
            size = (height, width, 0, height * width)
            tasks.append(Task(layer, POSITIONS, n_channels, *size, grid, n_prefix))
        if params.attentive:
            height, width = (*sides, 1, 1)[:2]
            tasks.append(Task(layer, ATTENTIVE, n_channels, height, width, 0, height * width))
    return tasks


def _require_grid(layer: str, output: Output) -> None:
    if len(output.sides) == 1 and output.n_positions > 1 and output.grid is None:
        raise UserError(
            f"layer {layer!r} gives {output.n_positions} tokens that are not known to be patches of a"
            " square: it has no map to pool or to probe position by position; set n_prefix_tokens in its"
            " entry, choose other probing.layer_probes.layers, or set attentive with pooled_sides: [] and"
            " positions: false"
        )


def _require_positions(outputs: Mapping[str, Output]) -> None:
    without = [layer for layer, output in outputs.items() if output.n_positions == 1]
    if without:
        others = ", ".join(layer for layer in outputs if layer not in without)
        raise UserError(
            f"layer {without[0]!r} has no positions or tokens to attend to; leave it out of"
            f" probing.layer_probes.layers (attentive){f': {others} have some' if others else ''}"
        )


def pack(tasks: Sequence[Task], *, n_stimuli: int, params: LayerProbesParams) -> Iterator[list[Task]]:
    """Yield chunks of tasks whose features fit together; the positions of a layer may be split.

    Args:
        tasks: All of them.
        n_stimuli: Stimuli of training and test.
        params: Precision, and the bytes of a chunk, in memory or in files.

    Raises:
        UserError: If one probe does not fit; the layer is named.
    """
    limit = params.disk_bytes or params.memory_bytes
    per_number = n_stimuli * BYTES[params.precision]
    chunk: list[Task] = []
    free = limit
    for task in tasks:
        _require_fit(task, n_stimuli, params)
        left = task
        while left.n_positions:
            per_position = per_number * left.n_channels
            most = free // per_position
            n_now = min(most, left.n_positions) if task.readout == POSITIONS else left.n_positions
            if n_now and per_position * n_now <= free:
                chunk.append(replace(left, n_positions=n_now))
                free -= per_position * n_now
                left = replace(left, first=left.first + n_now, n_positions=left.n_positions - n_now)
            else:
                yield chunk
                chunk, free = [], limit
    if chunk:
        yield chunk


def predict(
    outputs: Mapping[str, Output], *, n_stimuli: int, input_px: int, params: LayerProbesParams
) -> str:
    """Return in words how much the probes of one network take: probes, passes, memory and disk."""
    tasks = list_tasks(outputs, params)
    chunks = list(pack(tasks, n_stimuli=n_stimuli, params=params))
    n_probes = sum(task.n_positions if task.readout == POSITIONS else 1 for task in tasks)
    waiting = max(_n_bytes(chunk, n_stimuli, params) for chunk in chunks)
    held = sum(output.n_channels * output.n_positions for output in outputs.values())
    batch = FLOAT * min(params.batch_size, n_stimuli) * (3 * input_px**2 + held)
    fit = max(_fit_bytes(task, n_stimuli) for task in tasks)
    memory = COPIES * (batch + fit) + (0 if params.disk_bytes else waiting)
    disk = waiting if params.disk_bytes else 0
    return (
        f"{n_probes:,} probes in {len(chunks):,} passes of {n_stimuli:,} images,"
        f" memory {memory / 2**20:,.0f} MiB, disk {disk / 2**20:,.0f} MiB"
    )


def _n_bytes(chunk: Sequence[Task], n_stimuli: int, params: LayerProbesParams) -> int:
    return n_stimuli * BYTES[params.precision] * sum(task.n_numbers for task in chunk)


def _fit_bytes(task: Task, n_stimuli: int) -> int:
    """Return the bytes of one probe's features in float32, or twice in float16 while attention is fitted."""
    return FLOAT * n_stimuli * task.n_inputs


def _require_fit(task: Task, n_stimuli: int, params: LayerProbesParams) -> None:
    waiting = n_stimuli * BYTES[params.precision] * task.n_inputs
    for name, limit, needed in (
        ("memory_bytes", params.memory_bytes, _fit_bytes(task, n_stimuli)),
        ("disk_bytes", params.disk_bytes or waiting, waiting),
    ):
        if needed > limit:
            raise UserError(
                f"layer {task.layer!r} has {task.n_inputs:,} features of {n_stimuli:,} stimuli in one probe"
                f" ({needed:,} bytes); raise probing.layer_probes.{name} ({limit:,}), or pool to fewer"
                " positions"
            )

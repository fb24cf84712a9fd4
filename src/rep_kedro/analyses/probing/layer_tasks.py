"""What there is to probe in a network: pooled maps, positions, attention to them; and how much it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.errors import UserError

FLOAT = 4
COPIES = 2  # of activations while they are pooled, of a probe's features while their training part is fitted
BYTES = {"float16": 2, "float32": 4}
POSITIONS = "positions"
ATTENTIVE = "attentive"


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
    """

    layer: str
    readout: str
    n_channels: int
    height: int
    width: int
    first: int
    n_positions: int

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


def list_tasks(shapes: Mapping[str, tuple[int, ...]], params: LayerProbesParams) -> list[Task]:
    """Return what is probed in a network, in the order of its layers.

    Args:
        shapes: Output of each chosen layer for one stimulus: (channels, height, width), (channels, tokens),
            or (features,).
        params: Sides, and whether positions are probed or attended to.

    Raises:
        UserError: If a layer has no positions or tokens to attend to.
    """
    tasks = []
    if params.attentive:
        _require_positions(shapes)
    for layer, shape in shapes.items():
        n_channels, height, width = (*shape, 1, 1)[:3]
        for side in sorted(params.pooled_sides):
            rows, columns = min(side, height), min(side, width)
            tasks.append(Task(layer, f"{side}x{side}", n_channels, rows, columns, 0, rows * columns))
        if params.positions and height * width > 1:
            tasks.append(Task(layer, POSITIONS, n_channels, height, width, 0, height * width))
        if params.attentive:
            tasks.append(Task(layer, ATTENTIVE, n_channels, height, width, 0, height * width))
    return tasks


def _require_positions(shapes: Mapping[str, tuple[int, ...]]) -> None:
    without = [layer for layer, shape in shapes.items() if _size(shape[1:]) == 1]
    if without:
        others = ", ".join(layer for layer in shapes if layer not in without)
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
    shapes: Mapping[str, tuple[int, ...]], *, n_stimuli: int, input_px: int, params: LayerProbesParams
) -> str:
    """Return in words how much the probes of one network take: probes, passes, memory and disk."""
    tasks = list_tasks(shapes, params)
    chunks = list(pack(tasks, n_stimuli=n_stimuli, params=params))
    n_probes = sum(task.n_positions if task.readout == POSITIONS else 1 for task in tasks)
    waiting = max(_n_bytes(chunk, n_stimuli, params) for chunk in chunks)
    batch = FLOAT * min(params.batch_size, n_stimuli) * (
        3 * input_px**2 + sum(_size(shapes[layer]) for layer in {task.layer for task in tasks})
    )  # fmt: skip
    fit = max(_fit_bytes(task, n_stimuli) for task in tasks)
    memory = COPIES * (batch + fit) + (0 if params.disk_bytes else waiting)
    disk = waiting if params.disk_bytes else 0
    return (
        f"{n_probes:,} probes in {len(chunks):,} passes of {n_stimuli:,} images,"
        f" memory {memory / 2**20:,.0f} MiB, disk {disk / 2**20:,.0f} MiB"
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


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

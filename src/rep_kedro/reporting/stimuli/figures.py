"""A few images of each stimulus set, small: what the networks were shown."""

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rep_kedro.datasets import ArrowHandle
from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.panels import panels_of_sets
from rep_kedro.reporting.style import evenly, plot_note, start_figure, styled
from rep_kedro.reporting.texts import figure_texts
from rep_kedro.stimuli.decoding import decode_images

TITLE = figure_texts("stimuli")["title"]
N_IMAGES, MOST_SETS = 6, 9
SIDE_PX = 32  # an image takes at most 4 * SIDE_PX**2 bytes in the figure
ROW_IN = 0.85


def plot_stimuli(stimulus_sets: Mapping[str, ArrowHandle]) -> Figure:
    """Draw a few images of each stimulus set, of different classes where it has classes.

    Returns:
        One row per stimulus set, at most ``MOST_SETS`` evenly spaced by name; images of ``SIDE_PX`` pixels.
    """
    if not stimulus_sets:
        return plot_note(TITLE, "no stimulus set has images here")
    return _plot(stimulus_sets)


@styled
def _plot(stimulus_sets: Mapping[str, ArrowHandle]) -> Figure:
    names, title = panels_of_sets(sorted(stimulus_sets), TITLE, MOST_SETS)
    figure = start_figure(title, 0.5 + ROW_IN * len(names))
    grid = figure.subplots(len(names), N_IMAGES, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        for panel in row:
            panel.set_axis_off()
        _draw_set(row.tolist(), name, stimulus_sets[name])
    return figure


def _draw_set(panels: Sequence[Axes], name: str, stimuli: ArrowHandle) -> None:
    rows = choose_rows(stimuli.table(["label"])["label"].to_pylist(), len(panels))
    columns = ["stimulus_id", "image", "label"]
    chosen = [row for batch in stimuli.picked(rows, columns) for row in batch.to_pylist()]
    chosen.sort(key=lambda row: -1 if row["label"] is None else row["label"])
    pixels = decode_images([row["image"] for row in chosen], size_px=SIDE_PX)
    classes = stimuli.meta.get("class_names") or []
    for panel, row, image in zip(panels, chosen, pixels, strict=False):
        label = row["label"]
        word = "–" if label is None else str(classes[label] if label < len(classes) else label)
        panel.imshow(image.transpose(1, 2, 0), interpolation="none", extent=(0, 1, 1, 0))
        panel.text(0.5, 1.06, shortened(word, 14), ha="center", va="top", fontsize=7)
        columns_of_mark = {"class": [word], "stimulus": [str(row["stimulus_id"])]}
        describe_points(panel, [0.5], [0.5], columns_of_mark, along="panel", stimulus_set=name)
    panels[0].text(-0.12, 0.5, shortened(name, 24), ha="right", va="center", fontsize=8.5)


def choose_rows(labels: Sequence[int | None], n: int) -> list[int]:
    """Return rows to show, ascending: as many of each class as there is room for, else the first of some.

    Classes are evenly spaced by label where there are more than ``n``, and so are rows without classes.

    Example:
        >>> choose_rows([2, 2, 0, 1, 0], 2), choose_rows([1, 1, 0, 0, 1], 4), choose_rows([None] * 9, 3)
        ([0, 2], [0, 1, 2, 3], [0, 4, 8])
    """
    seen: Counter[int] = Counter()
    ranked = []  # how many of its class came before, class, row
    for row, label in enumerate(labels):
        if label is not None:
            ranked.append((seen[label], label, row))
            seen[label] += 1
    if not ranked:
        return evenly(range(len(labels)), n)
    if len(seen) > n:
        return sorted(evenly([row for rank, _, row in sorted(ranked) if rank == 0], n))
    return sorted(row for *_, row in sorted(ranked)[:n])

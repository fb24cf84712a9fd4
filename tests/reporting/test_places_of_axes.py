"""Axes get the same places in every process: the same bytes of every figure and page."""

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from rep_kedro.reporting.style import styled


class _OtherAddresses(ConstrainedLayoutEngine):
    """The solver as it is where its objects are elsewhere in memory: it sums in another order."""

    def execute(self, fig):
        super().execute(fig)
        for axes in fig.axes:
            place = axes.get_position(original=True).bounds
            axes.set_position(Bbox.from_bounds(*(share * (1 + 4e-15) for share in place)))


def test_places_do_not_depend_on_the_last_digits_of_the_solver():
    @styled
    def draw(layout):
        figure = Figure(figsize=(8.27, 11.69), layout=layout(rect=(0.06, 0.03, 0.88, 0.92)))
        for axes in figure.subplots(2, 2).flat:
            axes.set_title("accuracy")
        return figure

    first, other = draw(ConstrainedLayoutEngine), draw(_OtherAddresses)
    assert [a.get_position().bounds for a in first.axes] == [a.get_position().bounds for a in other.axes]

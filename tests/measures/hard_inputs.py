"""Inputs on which digits are easily lost, for every registered measure; run it to see by how much.

``python -m tests.measures.hard_inputs`` prints for each input the largest disagreement with the definition
over all measures, relative to the range of the measure where it has one, else to the value.
"""

from dataclasses import dataclass

import numpy as np
import torch
from tests.reference import linear_maps
from tests.reference.definitions import HAVE_THE_UNITS_OF_FEATURES, definition

from rep_kedro.measures import MEASURES, compare_models

N_STIMULI, WIDTHS = 24, (5, 6)
NAMES = [name for name, measure in MEASURES.items() if measure.compares == "features"]


@dataclass(frozen=True)
class HardInput:
    """Two models of the same stimuli.

    Attributes:
        models: Features, tensors of any type.
        scale: Power of two that they are multiples of, where their squares leave the range of float64.
    """

    models: tuple[torch.Tensor, torch.Tensor]
    scale: float = 1.0


def draw(n=N_STIMULI, widths=WIDTHS, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return tuple(
        (
            shared @ torch.randn(3, d, generator=generator, dtype=torch.float64)
            + torch.randn(n, d, generator=generator, dtype=torch.float64)
        ).to(dtype)
        for d in widths
    )


def change(function, *, both=False, **drawn):
    first, second = draw(**drawn)
    return HardInput((function(first), function(second) if both else second))


def stretch_row(factor):
    return lambda x: torch.cat([x[:3], factor * x[3:4], x[4:]])


def oppose_rows(factor):
    return lambda x: torch.cat([x[:3], factor * x[3:4], -factor * x[3:4], x[5:]])


def mirror(x):
    """Replace the second half by the mirrored first: no stimuli are farther apart than can be."""
    return torch.cat([x[: len(x) // 2], -x[: len(x) // 2]])


def stretch_column(factor):
    return lambda x: torch.cat([factor * x[:, :1], x[:, 1:]], dim=1)


def drift(size):
    """Add to all features of a stimulus a number that grows from stimulus to stimulus."""
    return lambda x: x + torch.linspace(0, size, len(x), dtype=x.dtype)[:, None]


def mix(condition):
    """Map features by a matrix whose singular values span a range."""

    def function(x):
        generator = torch.Generator().manual_seed(1)
        d = x.shape[1]
        left, right = (
            torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=x.dtype)).Q for _ in range(2)
        )
        return x @ (left * condition ** torch.linspace(0, 1, d, dtype=x.dtype)) @ right

    return function


def twice(n, **drawn):
    return HardInput(tuple(torch.cat([x, x]) for x in draw(n, **drawn)))


def far_clusters(x):
    return x * 1e-3 + 3 * (torch.arange(len(x)) % 2)[:, None]


def append_constant(size):
    return lambda x: torch.cat([x, torch.full_like(x[:, :1], size)], dim=1)


def whole(size):
    return lambda x: (x * size).round().to(torch.int64)


def scaled(exponent):
    return HardInput(tuple(x * 2.0**exponent for x in draw(dtype=torch.float64)), 2.0**exponent)


HARD_INPUTS = {
    "as drawn": HardInput(draw()),
    "as drawn, float64": HardInput(draw(dtype=torch.float64)),
    **{f"one row times {f:g}": change(stretch_row(f)) for f in (1e2, 1e3, 1e4, 1e5, 3e5, 1e6, 1e8)},
    **{
        f"one row times {f:g}, float64": change(stretch_row(f), dtype=torch.float64)
        for f in (3e5, 1e6, 1e8, 1e10)
    },
    **{f"one row of both times {f:g}": change(stretch_row(f), both=True) for f in (1e2, 1e4, 1e6)},
    "one row of both times 1e8, float64": change(stretch_row(1e8), both=True, dtype=torch.float64),
    "two opposite rows times 1e8, float64": change(oppose_rows(1e8), both=True, dtype=torch.float64),
    "each stimulus and its mirror image": change(mirror),
    "features that are zero or one": change(lambda x: (x > 0).to(x.dtype), both=True),
    **{f"stimuli drift by {c:g}": change(drift(c)) for c in (1e2, 1e3, 1e4, 1e5)},
    "stimuli drift by 1e5, float64": change(drift(1e5), dtype=torch.float64),
    **{
        f"a map of condition {c:g}, float64": change(mix(c), both=both, dtype=torch.float64)
        for c, both in ((1e6, False), (1e8, False), (1e4, True))
    },
    "one column times 1e5": change(stretch_column(1e5)),
    "one column of both times 1e5": change(stretch_column(1e5), both=True),
    "one column times 1e-5": change(stretch_column(1e-5)),
    **{f"a constant feature of {c:g}": change(append_constant(c), both=True) for c in (3.3, 1e4)},
    "rectified features": change(lambda x: x.clamp_min(0), both=True),
    "each feature twice": change(lambda x: torch.cat([x, x], dim=1), both=True, widths=(2, 3)),
    **{f"all features plus {c:g}": change(lambda x, c=c: x + c, both=True) for c in (1e3, 1e6)},
    "all features plus 1e6, float64": change(lambda x: x + 1e6, both=True, dtype=torch.float64),
    **{f"all features times {f:g}": change(lambda x, f=f: x * f, both=True) for f in (1e-30, 1e30)},
    "all features of one times 1e30": change(lambda x: x * 1e30),
    "stimuli far closer to each other than kernels are wide": change(lambda x: x * 1e-4, both=True),
    "stimuli farther from each other than kernels are wide": change(lambda x: x * 30, both=True),
    "two far clusters": change(far_clusters, both=True),
    "each stimulus twice": twice(14),
    "some stimuli twice": change(lambda x: torch.cat([x[:5], x[:-5]]), both=True),
    "each of 13 stimuli twice, 8 features": twice(13, widths=(8, 8)),
    "each of 3 stimuli four times": HardInput(tuple(torch.cat([x] * 4) for x in draw(3))),
    **{f"{n} stimuli": HardInput(draw(n)) for n in (4, 5, 6, 11, 12)},
    "float32 and float64": HardInput((draw()[0], draw(dtype=torch.float64)[1])),
    "float16 and float32": HardInput((draw(dtype=torch.float16)[0], draw()[1])),
    "bfloat16": HardInput(draw(dtype=torch.bfloat16)),
    "bfloat16 near 100": HardInput(tuple((x + 100).to(torch.bfloat16) for x in draw())),
    "integers near 2^30": change(lambda x: whole(10)(x) + 2**30, both=True, dtype=torch.float64),
    "small integers": change(whole(2), both=True),
    "about 1e300": scaled(996),
    "about 1e-300": scaled(-996),
}


def expect(name, hard):
    """Return the values by definition in float64, NaN where the measure has to refuse and on the diagonal."""
    x, y = ((z.double() / hard.scale).numpy() for z in hard.models)
    define = definition(name, hard.scale)

    def value(first, second):
        with np.errstate(all="ignore"):
            return np.nan if must_refuse(name, first, second) else define(first, second)

    forward = value(x, y)
    backward = forward if MEASURES[name].symmetric else value(y, x)
    return np.array([[np.nan, forward], [backward, np.nan]])


def must_refuse(name, x, y):
    """Tell whether there are fewer different stimuli than the measure declares to need."""
    fewest = MEASURES[name].fewest_stimuli
    n_distinct = len(np.unique(np.concatenate([x, y], axis=1), axis=0))
    counts = {
        "nothing": lambda z: 0,
        "ranks": lambda z: linear_maps.span(z).shape[1],
        "components": lambda z: linear_maps.keep_leading_components(z, 0.99).shape[1],
    }[fewest.counts]
    return n_distinct < fewest.given(counts(x), counts(y))


def compare(hard, names=NAMES):
    answers = compare_models(list(hard.models), names, memory_bytes=2**22)
    return dict(answers)


def disagreement(name, found, expected):
    """Return how far values are from those expected, relative to the range, of one without end to the values.

    Of the latter, values without the units of the features are set against one where they are smaller.
    """
    low, high = MEASURES[name].value_range
    off = ~np.eye(2, dtype=bool) & ~np.isnan(expected)
    smallest = float(name not in HAVE_THE_UNITS_OF_FEATURES)
    size = high - low if np.isfinite(high - low) else np.maximum(np.abs(expected[off]), smallest)
    return float(np.max(np.abs(found[off] - expected[off]) / size, initial=0.0))


def main():
    print("| input | largest disagreement | of |\n| --- | --- | --- |")  # noqa: T201
    for title, hard in HARD_INPUTS.items():
        found = compare(hard)
        errors = {name: disagreement(name, found[name].values, expect(name, hard)) for name in NAMES}
        worst = max(errors, key=errors.__getitem__)
        print(f"| {title} | {errors[worst]:.0e} | `{worst}` |")  # noqa: T201


if __name__ == "__main__":
    main()

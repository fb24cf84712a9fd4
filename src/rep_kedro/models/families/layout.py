"""A plain network in one line of text: `64x2 M 128/s2 F 100`.

`64` is a convolution of 64 channels, `64x2` two of them, `64/k5/s2/p1` one of kernel 5, stride 2 and padding
1; `M` is a pooling by two. Behind `F`, which flattens, numbers are linear layers.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import LARGEST_SIZE, MOST_LAYERS

_WIDTHS = re.compile(r"(?P<width>\d{1,7})(x(?P<times>\d{1,4}))?(?P<settings>(/[ksp]\d{1,7})*)")


class Part(NamedTuple):
    """One layer of a layout.

    Attributes:
        kind: What it is.
        width: Channels or features; 0 for a pooling and for the flattening.
        kernel, stride, padding: Of a convolution; None where the text does not say.
    """

    kind: Literal["conv", "pool", "flatten", "linear"]
    width: int = 0
    kernel: int | None = None
    stride: int = 1
    padding: int | None = None


def read_layout(text: str) -> tuple[Part, ...]:
    """Return the layers of a layout in depth order.

    Raises:
        UserError: If a word is none of a layout, has no meaning where it is, or there are too many layers.

    Example:
        >>> [(part.kind, part.width) for part in read_layout("8x2 M F 5")]
        [('conv', 8), ('conv', 8), ('pool', 0), ('flatten', 0), ('linear', 5)]
    """
    parts = tuple(part for part, _ in zip(_parts(text), range(MOST_LAYERS + 1), strict=False))
    if not any(part.width for part in parts):
        raise UserError(f"layout {text[:60]!r} has no layer with weights")
    if len(parts) > MOST_LAYERS:
        raise UserError(f"layout {text[:60]!r} has more than {MOST_LAYERS} layers")
    return parts


def _parts(text: str) -> Iterator[Part]:
    is_flat = False
    for word in text.split():
        if word in {"M", "F"} and not is_flat:
            is_flat = word == "F"
            yield Part("flatten" if is_flat else "pool")
            continue
        match = _WIDTHS.fullmatch(word)
        settings = {part[0]: int(part[1:]) for part in match["settings"].split("/")[1:]} if match else {}
        if not match or (is_flat and settings) or not 0 < int(match["width"]) <= LARGEST_SIZE:
            expected = "a width such as 100" if is_flat else "a width such as 64, 64x2 or 64/k5/s2/p1, M or F"
            raise UserError(f"layout {text[:60]!r}: {word[:20]!r} is not {expected}")
        for _ in range(int(match["times"] or 1)):
            yield Part(
                "linear" if is_flat else "conv",
                int(match["width"]),
                settings.get("k"),
                settings.get("s", 1),
                settings.get("p"),
            )

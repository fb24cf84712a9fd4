"""One call of an operator of torch, with what its arguments see of the image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rep_kedro.kernels.layers.sighted import Sighted


class CannotFollowError(Exception):
    """An operator whose effect on positions is not known; the message says which."""


@dataclass(frozen=True)
class Operator:
    """One call of an operator.

    Attributes:
        name: In ATen, without overload.
        given: Arguments by name, defaults included.
        shape: Of its first output.
        look_up: What a tensor sees of the image; None if it does not depend on it.
    """

    name: str
    given: Mapping[str, Any]
    shape: tuple[int, ...]
    look_up: Callable[[Any], Sighted | None]

    @property
    def x(self) -> Sighted:
        """What the first argument sees.

        Raises:
            CannotFollowError: If only another argument depends on the image.
        """
        found = self.look_up(next(iter(self.given.values())))
        if found is None:
            raise CannotFollowError(f"{self.name} with weights that depend on the image")
        return found

    def axes(self, name: str = "dim") -> list[int]:
        """Return the axes that an argument names, counted from the front; all if it names none."""
        n_axes, value = len(self.x.dims), self.given.get(name)
        if value is None or value == []:
            return list(range(n_axes))
        return [axis % n_axes for axis in ([value] if isinstance(value, int) else value)]

    @property
    def inputs(self) -> list[Sighted]:
        """What those arguments see that depend on the image, also those in lists."""
        flat = [v for value in self.given.values() for v in (value if isinstance(value, list) else [value])]
        return [
            found for each in flat if isinstance(each, Tensor) and (found := self.look_up(each)) is not None
        ]

"""The steps of a network as torch.fx records them, for cutting it in two."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from torch import fx, nn

from rep_kedro.errors import UserError

_LEAVES = (
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.LayerNorm,
)  # also where a library derives its own from them


class _Tracer(fx.Tracer):
    """Steps into modules of libraries, but not into those that are windows themselves."""

    def __init__(self) -> None:
        # timm lists what torch.fx must not step into.
        listed = sys.modules.get("timm.layers._fx")
        functions: Iterable[Callable[..., Any]] = listed.get_notrace_functions() if listed else ()
        super().__init__(autowrap_functions=tuple(functions))
        self._leaves = (*_LEAVES, *(listed.get_notrace_modules() if listed else ()))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)


def trace_network(module: nn.Module) -> fx.Graph:
    """Return the steps of a network in evaluation mode.

    Raises:
        UserError: If torch.fx cannot follow its code.
    """
    try:
        return _Tracer().trace(module.eval())
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"torch.fx cannot trace {type(module).__name__}: {cause}") from error

"""Make torchvision importable with a CPU build of torch.

The torchvision wheels of the package index are linked against the CUDA build. With a CPU build their
compiled library does not load and `import torchvision` stops at two operators that are then unknown.
Declaring the two operators is enough for everything that does not call them; timm and open_clip import
torchvision and gain the same.
"""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

OPERATORS = ("nms", "qnms")
_declared: list[Any] = []  # torch forgets the operators when the library object is collected


class BeforeTorchvision:
    """Entry of `sys.meta_path` that finds nothing, and declares the operators before the first import."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Declare the operators if the module is torchvision."""
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare_torchvision_operators()


@cache
def declare_torchvision_operators() -> bool:
    """Declare the operators that torchvision misses, if its compiled library does not load.

    Importing this project has it called (`BeforeTorchvision`). Further calls do nothing.

    Returns:
        True if the operators were declared here, False if torchvision needs no help (or is not installed).
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    if _loads(Path(spec.submodule_search_locations[0])) or hasattr(torch.ops.torchvision, OPERATORS[0]):
        return False
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in OPERATORS:
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    return True


def _loads(folder: Path) -> bool:
    import torch

    for extension in folder.glob("_C*.so"):
        try:
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
        except OSError:
            return False
    return True

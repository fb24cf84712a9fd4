"""The content of a file of weights: tensors by name, nested as saved, without running code of the file.

Objects of a few classes that people save with weights, such as the arguments of the training, become
placeholders: neither the class nor anything else of its module is imported.
"""

import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rep_kedro.errors import UserError
from rep_kedro.models.files import require_file
from rep_kedro.models.places import FilePlace
from rep_kedro.models.sources.file_kinds import recognise_file

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
_MODULES_OF_REMARKS = frozenset(
    {"argparse", "types", "pathlib", "datetime", "numpy", "omegaconf", "easydict", "yacs", "typing"}
    | {"pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities"}
)
_MOST_CLASSES = 50
_BLOCK_BYTES = 1 << 20
_MODULE_CLASS = re.compile(r"(^|\.)(torch\.nn|torchvision|timm|open_clip|models?|nets?|networks?|__main__)\b")


class Placeholder:
    """Replaces an object saved with the weights; it has no content and no behaviour."""

    def __new__(cls, *_: object, **__: object) -> "Placeholder":
        """Ignore what the object would be made of."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Ignore what the object would be made of."""

    def __setstate__(self, _: object) -> None:
        """Ignore the content of the object."""


def read_content(place: FilePlace, kind: str, *, only_shapes: bool = False) -> Any:
    """Return the content of a file; it is recognised by its content and fetched if it has an address.

    Args:
        place: Where the file is.
        kind: What messages call it, such as `checkpoint`.
        only_shapes: Map the numbers rather than read them: they are not checked against the file's checksums.

    Raises:
        ValueError: If it is missing, damaged, of another digest than stated, no file of weights, or holds
            objects whose reading could run code; the message names them.
    """
    path = require_file(place, kind)
    name = f"{kind} {place.path or place.url}"
    found = recognise_file(path)
    if found.readable is None:
        raise UserError(f"{name} is {found.described}")
    if found.readable == "safetensors":
        return _read_safetensors(path, name)
    return _read_torch(path, name, mapped=only_shapes and _can_be_mapped(path, found.readable))


def _can_be_mapped(path: Path, readable: str) -> bool:
    return readable == "torch" and path.suffix != ".safetensors"


def _read_safetensors(path: Path, name: str) -> dict[str, Any]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is not a mapping
    except Exception as problem:  # also of types of numbers that torch lacks
        cause = " ".join(str(problem).split()).removeprefix("Error while deserializing header: ")
        raise UserError(
            f"{name} is damaged or not a safetensors file ({path.stat().st_size} bytes: {cause[:100]});"
            " copy or fetch it again"
        ) from problem


def _read_torch(path: Path, name: str, *, mapped: bool) -> Any:
    """Read a file that torch.save wrote; each refusal names a class, which may be one that is left out."""
    import torch

    if not mapped and _is_damaged(path):
        raise UserError(_describe_damaged(path, name))
    placeholders: dict[str, type] = {}
    while True:
        try:
            # A stream, since torch goes by the suffix of a path; only a path can be mapped.
            with _allowed(placeholders), path.open("rb") as stream:
                source = path if mapped else stream
                return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as problem:  # the unpickler raises whatever the file makes it raise
            refused = _REFUSED.search(str(problem))
            if refused is None:
                raise UserError(_describe_trouble(path, name, problem)) from problem
            known = refused[1].partition(".")[0] in _MODULES_OF_REMARKS
            if not known or refused[1] in placeholders or len(placeholders) >= _MOST_CLASSES:
                raise UserError(_describe_refused(name, refused[1])) from problem
            placeholders[refused[1]] = type(refused[1], (Placeholder,), {})


@contextmanager
def _allowed(placeholders: dict[str, type]) -> Iterator[None]:
    import torch

    pairs: list[Any] = [(stand_in, name) for name, stand_in in placeholders.items()]
    with warnings.catch_warnings(), torch.serialization.safe_globals(pairs):
        warnings.simplefilter("ignore")  # about the age of the file's format
        yield


def _describe_refused(name: str, refused: str) -> str:
    if _MODULE_CLASS.search(refused.rpartition(".")[0]):
        what = f"a whole network ({refused}) instead of its weights"
    else:
        what = f"more than tensors ({refused})"
    remedy = "save only its state dict, best as .safetensors"
    return f"{name} contains {what}, and reading it could run code; {remedy}"


def _describe_trouble(path: Path, name: str, problem: Exception) -> str:
    if any(word in str(problem) for word in ("reduce", "REDUCE", "BUILD", "new object")):
        return f"{name} contains more than tensors, and reading it could run code; save only its state dict"
    return _describe_damaged(path, name)


def _describe_damaged(path: Path, name: str) -> str:
    return f"{name} is a damaged torch file ({path.stat().st_size} bytes); copy or fetch it again"


def _is_damaged(path: Path) -> bool:
    """Compare the checksums of a zip file, which torch does not; all are wrong where it wrote none."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:  # its list of entries was read before, to recognise it
        entries = archive.infolist()
        n_wrong = sum(not _is_whole(archive, entry) for entry in entries)
    return 0 < n_wrong < len(entries)


def _is_whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as stream:
            while stream.read(_BLOCK_BYTES):
                pass
    except Exception:  # what the damage makes of the entry's header may be anything
        return False
    return True

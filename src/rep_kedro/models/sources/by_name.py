"""Entries of networks by their names alone, before any configuration has them."""

from collections.abc import Callable
from typing import NamedTuple

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.sources.specs import OpenClipModel, TimmModel, TorchvisionModel, ZooEntry

_ALL = ("**",)


class _Library(NamedTuple):
    """A library of networks.

    Attributes:
        list_names: Returns the names of its networks.
        make_entry: Returns the entry of one, with drawn weights.
    """

    list_names: Callable[[], list[str]]
    make_entry: Callable[[str], ZooEntry]


def find_by_name(name: str) -> ZooEntry | None:
    """Return the network of a library that has a name, with drawn weights.

    Args:
        name: As `resnet26`, or with its library, as `timm/resnet18` or `open_clip/ViT-B-32`.

    Returns:
        The entry; None if no library has such a network.

    Raises:
        UserError: If several libraries have it, or the one that is named does not.
    """
    library, _, inner = name.partition("/")
    if library in _LIBRARIES:
        known = _LIBRARIES[library].list_names()
        if inner not in known:
            raise UserError(f"{library} has no network {inner!r}; {suggest(inner, known)}")
        return _LIBRARIES[library].make_entry(inner)
    found = [each for each, names in names_by_library().items() if name in names]
    if len(found) > 1:
        raise UserError(f"{' and '.join(found)} have a network {name!r}; say which, as {found[0]}/{name}")
    return _LIBRARIES[found[0]].make_entry(name) if found else None


def names_by_library() -> dict[str, list[str]]:
    """Return the names of the networks of each library."""
    return {name: library.list_names() for name, library in _LIBRARIES.items()}


def _list_timm() -> list[str]:
    import timm

    return list(timm.list_models())


def _list_torchvision() -> list[str]:
    from torchvision import models

    return list(models.list_models(module=models))  # classifiers, whose input is one image


def _list_open_clip() -> list[str]:
    import open_clip

    return list(open_clip.list_models())


_LIBRARIES = {
    "timm": _Library(_list_timm, lambda n: TimmModel(source="timm", name=n, pretrained=False, layers=_ALL)),
    "torchvision": _Library(
        _list_torchvision, lambda n: TorchvisionModel(source="torchvision", name=n, weights=None, layers=_ALL)
    ),
    "open_clip": _Library(
        _list_open_clip, lambda n: OpenClipModel(source="open_clip", name=n, pretrained=None, layers=_ALL)
    ),
}

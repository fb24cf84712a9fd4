"""Which part of a folder's path names the class of the images in it."""

from collections.abc import Collection, Iterable
from typing import Literal

from rep_kedro.errors import UserError, shorten
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.split_names import is_neutral, parse_name
from rep_kedro.stimuli.split_rule import Folders

Level = Literal["first", "last", "none"]
Key = tuple[str, Folders]


def class_of_folders(
    folders: Collection[Key], level: Level | None, place: str, log: DamageLog
) -> dict[Key, str | None]:
    """Return the class of each folder with images.

    A first folder that holds all others of its split, and a last one called ``images`` or the like
    throughout, say nothing of classes: ``PetImages/{cat, dog}``, ``{n01, n02}/images``.

    Args:
        folders: (split, parts of the path below the split) of each folder with images.
        level: What the parameters state: the ``first`` folder names the class, the ``last`` one (that holds
            the image), or ``none``.
        place: The source's folder, for messages.
        log: Takes a note where folders are passed over.

    Returns:
        Name of the class by folder; None for images without a folder.

    Raises:
        UserError: If folders of two levels could be the classes; shows the tree.
    """
    if level is not None:
        position = {"first": 0, "last": -1}.get(level)
        return {key: key[1][position] if key[1] and position is not None else None for key in folders}
    kept = {key: key for key in folders}
    for strip in (_without_last, _without_first):
        while (shorter := strip(kept.values())) is not None:
            kept = {key: shorter[own] for key, own in kept.items()}
    if any(kept[key] != key for key in folders):
        names = sorted({own[1][0] for own in kept.values() if own[1]})
        log.notes.append(f"of folders in folders the classes are {shorten(names) or 'none'}")
    _require_one_reading({parts for _, parts in kept.values()}, place)
    return {key: own[1][0] if own[1] else None for key, own in kept.items()}


def _by_split(keys: Iterable[Key]) -> dict[str, set[Folders]]:
    by_split: dict[str, set[Folders]] = {}
    for split, parts in keys:
        by_split.setdefault(split, set()).add(parts)
    return by_split


def _without_last(keys: Collection[Key]) -> dict[Key, Key] | None:
    """Drop the last folder where it is ``images`` or the like throughout; None where it is not."""
    by_split = _by_split(keys)
    lasts = {parts[-1:] for _, parts in keys}
    is_single = all(len(there) == 1 or min(map(len, there)) > 1 for there in by_split.values())
    is_silent = all(map(is_neutral, (name for last in lasts for name in last)))
    if len(lasts) != 1 or () in lasts or not is_silent or not is_single:
        return None
    return {key: (key[0], key[1][:-1]) for key in keys}


def _without_first(keys: Collection[Key]) -> dict[Key, Key] | None:
    """Drop the first folder that all others are in; splits may have one each, called as a split may be."""
    if any(len(parts) < 2 for _, parts in keys):
        return None
    firsts = {(split, parts[0]) for split, parts in keys}
    names = {name for _, name in firsts}
    is_alone = len(names) == 1 or (
        len(firsts) == len(_by_split(keys)) and all(parse_name(name) or is_neutral(name) for name in names)
    )
    return {key: (key[0], key[1][1:]) for key in keys} if is_alone else None


def _require_one_reading(folders: Collection[Folders], place: str) -> None:
    deep = sorted(parts for parts in folders if len(parts) > 1)
    firsts, lasts = {parts[0] for parts in deep}, {parts[-1] for parts in deep}
    others = {parts[0] for parts in folders if parts} - firsts
    if len(deep) == len(firsts) == len(lasts) and lasts.isdisjoint(others):
        return
    raise UserError(
        f"the classes of {place} could be {shorten(sorted({parts[0] for parts in folders if parts}))} or"
        f" {shorten(sorted({parts[-1] for parts in folders if parts}))}: it holds {show_tree(folders)}; say"
        " `classes: first`, `classes: last` (the folder that holds the image) or `classes: none`"
    )


def show_tree(folders: Collection[Folders]) -> str:
    """Return the first folders of a tree in one line.

    Example:
        >>> show_tree({("train", "cat"), ("train", "dog"), ("test",)})
        'test, train/{cat, dog}'
    """
    below: dict[str, set[str]] = {}
    for parts in folders:
        if parts:
            below.setdefault(parts[0], set()).update(["/".join(parts[1:])] if parts[1:] else [])
    return shorten(
        [name + (f"/{{{shorten(sorted(names))}}}" if names else "") for name, names in sorted(below.items())]
    )

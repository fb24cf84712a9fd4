"""The one rule by which a source's folders and files belong to splits, for every reader.

What the parameters state is obeyed: ``splits: {train: Training, test: Testing}`` names folders or files below
``path`` (with wildcards), ``splits: none`` says that no name is that of a split. Without a statement names of
splits (see ``split_names``) decide where they leave no doubt; otherwise the source is refused with both
readings.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from rep_kedro.errors import SHOWN_NAMES, UserError, shorten, suggest
from rep_kedro.stimuli.base import FileSourceSpec
from rep_kedro.stimuli.split_names import SplitName, parse_name, require_one_name_each

Folders = tuple[str, ...]


def split_folders(
    folders: Collection[Folders], spec: FileSourceSpec, place: str, stated: str = ""
) -> dict[Folders, tuple[str, Folders] | None]:
    """Say for each folder with images which split it belongs to.

    Args:
        folders: The parts of each folder's path below the source's; () is the source's own folder.
        spec: The source's parameters.
        place: The source's folder, for messages.
        stated: Split that the parameters give to the whole place; '' if they give none.

    Returns:
        Split of each folder, and its parts without that of the split; None for folders outside of the splits.

    Raises:
        UserError: If names could be those of splits or of classes; names both readings.
    """
    folders = sorted(folders)
    if isinstance(spec.splits, Mapping) and spec.path is not None:
        matches = _match_all(["/".join(parts) for parts in folders], spec.splits, place)
        return {
            parts: (found[0], parts[found[1] :]) if found else None
            for parts, found in zip(folders, matches, strict=True)
        }
    level = None if spec.splits == "none" else _split_level(folders, place)
    if level is None:
        return {parts: (stated or spec.split, parts) for parts in folders}
    splits = {name: _split_named(name) for name in {parts[level] for parts in folders if len(parts) > level}}
    if stated and set(splits.values()) != {stated}:
        raise UserError(
            f"splits gives {place} to the split {stated}, and its folders {shorten(sorted(splits))} have"
            " names of splits; give a place for each"
        )
    _require_split_unstated(spec, splits.values(), place)
    is_wrapped = len({parts[:level] for parts in folders}) == 1
    return {
        parts: (splits[parts[level]], (() if is_wrapped else parts[:level]) + parts[level + 1 :])
        if len(parts) > level
        else None
        for parts in folders
    }


def split_files(
    names: Sequence[str], spec: FileSourceSpec, place: str, neutral: Iterable[str] = ()
) -> list[str | None]:
    """Say for each file that holds many stimuli which split it belongs to.

    Args:
        names: Path of each file relative to the source's folder, with '/'.
        spec: The source's parameters.
        place: The source's folder, for messages.
        neutral: Words in the files' names that say nothing of splits, such as the format's.

    Returns:
        Split of each file; None for files that the stated splits leave out.

    Raises:
        UserError: If the names of some files say a split and those of others none, or a folder says another
            split than the file in it.
    """
    if isinstance(spec.splits, Mapping) and spec.path is not None:
        return [found and found[0] for found in _match_all(names, spec.splits, place)]
    if spec.splits == "none":
        return [spec.split] * len(names)
    found = [_split_of_file(name, neutral) for name in names]
    doubtful = [each for each in found if each and each.rest]
    is_one_set = len({each.rest for each in doubtful}) < 2 and (
        len({each.split for each in doubtful}) > 1 or all(each.is_last for each in doubtful)
    )
    if all(found):
        exact = {each.word: each.split for each in found if each and not each.rest}
        require_one_name_each(exact, place)
    is_default = all(each and each.split == spec.split for each in found)  # whichever way it is read
    if not any(found) or is_default or (not is_one_set and "split" in spec.model_fields_set):
        return [spec.split] * len(names)
    if not all(found) or not is_one_set:
        raise _ambiguous_files(names, found, place)
    splits = [each.split for each in found if each]
    _require_split_unstated(spec, splits, place)
    return list(splits)


def _split_of_file(name: str, neutral: Iterable[str]) -> SplitName | None:
    *folders, file = name.split("/")
    by_folder = {
        parsed.split: parsed._replace(word=folder)
        for folder in folders
        if (parsed := parse_name(folder)) and not parsed.rest
    }
    own = parse_name(file.partition(".")[0], neutral)
    splits = {*by_folder, *([own.split] if own and not own.rest else [])}
    if len(splits) > 1:
        raise UserError(
            f"{name!r} could belong to {' or '.join(f'the split {split}' for split in sorted(splits))}; state"
            " it, such as `splits: {train: FOLDER, test: FOLDER}`, or say `splits: none`"
        )
    return next(iter(by_folder.values()), own)


def _split_level(folders: Collection[Folders], place: str) -> int | None:
    """Return the level at which all folders have names of splits; None where no name could be one."""
    for level in range(max(map(len, folders), default=0)):
        names = sorted({parts[level] for parts in folders if len(parts) > level})
        parsed = {name: parse_name(name) for name in names}
        exact = {name: found.split for name, found in parsed.items() if found and not found.rest}
        is_strong = any(found.is_strong for found in parsed.values() if found and not found.rest)
        is_whole = level == 0 or all(len(parts) > level for parts in folders)
        if exact and len(exact) == len(names) and is_strong and is_whole:
            require_one_name_each(exact, place)
            return level
        if exact or _differ_in_split_alone(parsed.values()):
            likely = {name: found.split for name, found in parsed.items() if found}
            more = {name: split for name, split in likely.items() if split not in exact.values()}
            raise _ambiguous_folders(exact | more, names, place)
    return None


def _differ_in_split_alone(parsed: Iterable[SplitName | None]) -> bool:
    """Say whether two names differ in the split's word alone, such as ``seg_train`` and ``seg_test``."""
    splits_of: dict[tuple[str, ...], set[str]] = {}
    for found in parsed:
        if found:
            splits_of.setdefault(found.rest, set()).add(found.split)
    return any(len(splits) > 1 for splits in splits_of.values())


def _split_named(name: str) -> str:
    parsed = parse_name(name)
    assert parsed is not None  # noqa: S101  _split_level
    return parsed.split


def _match_all(
    names: Sequence[str], stated: Mapping[str, Sequence[object]], place: str
) -> list[tuple[str, int] | None]:
    """Return the stated split of each name and how many parts of the path its pattern takes."""
    patterns = [(split, str(pattern).rstrip("/")) for split, given in stated.items() for pattern in given]
    found = [_match(name, patterns, place) for name in names]
    used = {pattern for each in found if each for pattern in each[2:]}
    for split, pattern in patterns:
        if pattern not in used:
            there = sorted({name.partition("/")[0] for name in names if name})
            raise UserError(
                f"splits: nothing in {place} is named {pattern!r} ({split}); {suggest(pattern, there)}"
            )
    return [each and each[:2] for each in found]


def _match(name: str, patterns: list[tuple[str, str]], place: str) -> tuple[str, int, str] | None:
    parts = name.split("/") if name else []
    matches = [
        (split, n_parts, pattern)
        for split, pattern in patterns
        for n_parts in range(1, len(parts) + 1)
        if pattern.count("/") == n_parts - 1
        and (pattern == (start := "/".join(parts[:n_parts])) or fnmatchcase(start, pattern))
    ]
    if len({split for split, _, _ in matches}) > 1:
        raise UserError(
            f"splits: {name!r} of {place} is named by {' and '.join(repr(match[2]) for match in matches)}"
        )
    return matches[0] if matches else None


def _require_split_unstated(spec: FileSourceSpec, splits: Iterable[str], place: str) -> None:
    there = sorted(set(splits))
    if "split" in spec.model_fields_set and there != [spec.split]:
        raise UserError(
            f"split: {spec.split} has no effect, for names in {place} say {', '.join(there)}; remove it, or"
            " say `splits: none`"
        )


def _ambiguous_folders(likely: Mapping[str, str], names: Sequence[str], place: str) -> UserError:
    others = [name for name in names if name not in likely]
    more = f" (next to {shorten(others)})" if others else ""
    return UserError(
        f"the folders of {place} could be splits or classes: {shorten(list(likely))}{more}; say"
        f" `{_statement(likely)}` or `splits: none`"
    )


def _ambiguous_files(names: Sequence[str], found: Sequence[SplitName | None], place: str) -> UserError:
    likely = {name: each.split for name, each in zip(names, found, strict=True) if each}
    others = [name for name in names if name not in likely]
    more = f", but not {shorten(others)}" if others else ""
    return UserError(
        f"names in {place} could be those of splits: {shorten(list(likely))}{more}; say"
        f" `{_statement(likely)}` or `splits: none`"
    )


def _statement(likely: Mapping[str, str]) -> str:
    """Return what to write so that the names are splits."""
    names: dict[str, list[str]] = {}
    for name, split in likely.items():
        names.setdefault(split, []).append(name)
    entries = []
    for split, same in sorted(names.items(), key=lambda entry: (entry[0] != "train", entry[0])):
        start = _common_start(min(same), max(same))
        is_pattern = (
            len(same) > SHOWN_NAMES
            and start
            and not any(name.startswith(start) for name in likely if name not in same)
        )
        several = f"{start}*" if is_pattern else f"[{', '.join(same)}]"
        entries.append(f"{split}: {same[0] if len(same) == 1 else several}")
    return f"splits: {{{', '.join(entries)}}}"


def _common_start(first: str, last: str) -> str:
    """Return the common start of all names between two in alphabetical order."""
    n_same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:n_same]

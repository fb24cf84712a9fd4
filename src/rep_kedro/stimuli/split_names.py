"""The names that people give to splits, of folders and of files.

A name says a split where nothing but numbers and words such as ``set`` or ``images`` is left next to the
split's word: ``Training``, ``train_set``, ``val2017``, ``test-00000-of-00003``. With other words
(``seg_train``, ``bullet_train``) it may say a split, or not.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rep_kedro.errors import UserError

_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("test", "testing", "tst", "t10k"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("eval", "evaluation"), "val"),
    "extra": "extra",
}
OUR_SPLITS = frozenset(_WORDS.values())
_WEAK = frozenset({"valid", "dev", "devel", "development", "eval", "evaluation", "extra"})
_NEUTRAL = frozenset(
    {"set", "sets", "data", "dataset", "split", "part", "shard", "of", "folder", "file", "files"}
    | {"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"}
)
_FORMATS = frozenset(
    {"png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "avif", "heic", "heif"}
)


class SplitName(NamedTuple):
    """What a name says of a split.

    Attributes:
        split: ``train``, ``test``, ``val`` or ``extra``.
        rest: The words next to the split's word; empty where the name is that of a split and nothing else.
        is_strong: False for words that are also common names of classes, such as ``valid`` and ``extra``.
        is_last: Whether the split's word is the last one.
        word: What says it, as it is written.
    """

    split: str
    rest: tuple[str, ...]
    is_strong: bool
    is_last: bool
    word: str


def parse_name(name: str, neutral: Iterable[str] = ()) -> SplitName | None:
    """Return what the name of a folder or file (without its ending) says of a split; None for nothing.

    Args:
        name: One part of a path.
        neutral: Further words that say nothing.

    Example:
        >>> parse_name("Training")
        SplitName(split='train', rest=(), is_strong=True, is_last=True, word='training')
        >>> parse_name("seg_test").rest, parse_name("cats")
        (('seg',), None)
    """
    silent = _NEUTRAL | set(neutral)
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = [word for word in re.findall(r"t10k|[^\W\d_]+", parted) if word not in silent]
    found = {position: word for position, word in enumerate(map(_bare, words)) if word in _WORDS}
    splits = {_WORDS[word] for word in found.values()}
    rest = tuple(word for position, word in enumerate(words) if position not in found)
    if splits == {"train", "val"} and not rest:
        splits = {"train"}  # "train_val" is what "trainval" is
    if len(splits) != 1:
        return None
    is_strong = any(word not in _WEAK for word in found.values())
    return SplitName(splits.pop(), rest, is_strong, max(found) == len(words) - 1, " ".join(found.values()))


def is_neutral(name: str) -> bool:
    """Say whether a name says neither a split nor a class, such as ``images``."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    return bool(words) and all(word in _NEUTRAL or word in _FORMATS for word in words)


def _bare(word: str) -> str:
    """Return a word without what may hang on it: ``trainset``, ``testdata``."""
    endings = sorted(_NEUTRAL, key=len, reverse=True)
    bare = next((word.removesuffix(end) for end in endings if word.endswith(end)), word)
    return bare if bare in _WORDS else word


def canonical_split(name: str) -> str:
    """Return our name of a split that a data set declares; its own where we have none.

    Example:
        >>> canonical_split("Validation"), canonical_split("unlabelled")
        ('val', 'unlabelled')
    """
    parsed = parse_name(name)
    return parsed.split if parsed and not parsed.rest else name


def require_one_name_each(splits: Mapping[str, str], place: str, parameter: str = "splits") -> None:
    """Require that no two names are those of one split.

    Raises:
        UserError: Names the two and what to write.
    """
    names: dict[str, list[str]] = {}
    for name, split in splits.items():
        names.setdefault(split, []).append(name)
    for split, same in names.items():
        if len(same) > 1:
            chosen = f"[{', '.join(sorted(same))}]" if parameter == "splits" else sorted(same)[0]
            raise UserError(
                f"{' and '.join(map(repr, sorted(same)))} of {place} could each be the split {split}; say"
                f" which, such as `{parameter}: {{{split}: {chosen}}}`"
            )

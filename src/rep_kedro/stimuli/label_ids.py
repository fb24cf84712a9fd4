"""Which row of a table of labels is that of which image; ids are compared, never used as paths."""

import unicodedata
from collections.abc import Collection, Iterator, Mapping

from rep_kedro.stimuli.decoding import IMAGE_SUFFIXES

SHOWN = 3  # so many ids are named in a message
_COMPARED = 2000  # so many ids are looked at to find out why they do not match


def normalise_id(name: str) -> str:
    r"""Return an id in the form in which ids are compared: NFC, with '/' between folders.

    Example:
        >>> normalise_id("./cat\\1.jpg")
        'cat/1.jpg'
    """
    plain = (name if name.isascii() else unicodedata.normalize("NFC", name)).replace("\\", "/")
    return plain.removeprefix("./")


def without_ending(name: str) -> str:
    """Return a name without the ending of an image; any other ending is part of the name.

    Example:
        >>> without_ending("cat/1.5.JPG"), without_ending("cat/1.5")
        ('cat/1.5', 'cat/1.5')
    """
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending.lower()}" in IMAGE_SUFFIXES else name


class RowFinder:
    """Finds the row of each image.

    An id names an image if it is its path or an end of it at a folder, with or without the image's ending.
    Of several rows that do, the one with the longest id counts; one row names one image.

    Attributes:
        row_of: The row of each stimulus that was asked for, None where it has none, by stimulus id.
        without_row: Stimuli that were asked for and have none.
        clashes: (id, first stimulus, second stimulus) where one row names two images.
    """

    def __init__(self, rows: Mapping[str, int]) -> None:
        self._rows = rows
        self._bare: dict[str, int] = {}
        for name, row in rows.items():
            if (bare := without_ending(name)) != name:
                self._bare.setdefault(bare, row)
        self.row_of: dict[str, int | None] = {}
        self.without_row: list[str] = []
        self.clashes: list[tuple[str, str, str]] = []
        self._stimulus_of: dict[int, str] = {}

    def find(self, stimulus_id: str) -> int | None:
        """Return the row of a stimulus; None if it has none."""
        if stimulus_id in self.row_of:
            return self.row_of[stimulus_id]
        name, row = next(self._matches(normalise_id(stimulus_id)), ("", None))
        self.row_of[stimulus_id] = row
        if row is None:
            self.without_row.append(stimulus_id)
        elif (other := self._stimulus_of.setdefault(row, stimulus_id)) != stimulus_id:
            self.clashes.append((name, other, stimulus_id))
        return row

    def unmatched_ids(self) -> list[str]:
        """Return the ids of the rows that name none of the stimuli asked for."""
        return [name for name, row in self._rows.items() if row not in self._stimulus_of]

    def _matches(self, path: str) -> Iterator[tuple[str, int]]:
        bare = without_ending(path)
        other = self._bare if bare == path else self._rows  # keys of shards have no ending, ids may
        while path:
            for rows, name in ((self._rows, path), (other, bare)):
                if name in rows:
                    yield name, rows[name]
            path, bare = path.partition("/")[2], bare.partition("/")[2]


def describe_unmatched(ids: Collection[str], stimuli: Collection[str]) -> str:
    """Return why ids match no image, where that can be seen; else an empty text.

    Example:
        >>> describe_unmatched(["7"], ["cat/0007.jpg"])
        'ids and names differ in leading zeros, such as 7 for cat/0007.jpg (store ids as text)'
        >>> describe_unmatched(["images/a.jpg"], ["a.jpg"])
        'ids have more folders than paths below the source, such as images/a.jpg for a.jpg'
    """
    looked_at = [normalise_id(stimulus) for stimulus, _ in zip(stimuli, range(_COMPARED), strict=False)]
    folded = {form.casefold(): stimulus for stimulus in looked_at for form in _forms(stimulus)}
    short = {form.lstrip("0"): stimulus for stimulus in looked_at for form in _forms(stimulus)}
    for name, _ in zip(ids, range(_COMPARED), strict=False):
        if stimulus := folded.get(name.casefold()):
            return f"ids differ from names in case, such as {name} for {stimulus}"
        if stimulus := short.get(name.lstrip("0")):
            what = "ids and names differ in leading zeros"
            return f"{what}, such as {name} for {stimulus} (store ids as text)"
        below = name.partition("/")[2]
        while below:
            if stimulus := folded.get(below.casefold()):
                what = "ids have more folders than paths below the source"
                return f"{what}, such as {name} for {stimulus}"
            below = below.partition("/")[2]
    return ""


def _forms(path: str) -> set[str]:
    """Return the ids that name an image."""
    parts = path.split("/")
    ends = {"/".join(parts[start:]) for start in range(len(parts))}
    return ends | {without_ending(end) for end in ends}

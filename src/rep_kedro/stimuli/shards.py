"""Files that belong together by the numbers in their names: is one missing?

The one rule for tables, tar shards and NumPy archives.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from rep_kedro.stimuli.record import DamagedSourceError

_NAME = re.compile(r"(.*?)(\d+)(?:-of-(\d+))?((?:\.[A-Za-z]\w*)*)")  # start, number, count, endings


def require_all_shards(files: Iterable[Path]) -> None:
    """Require that no file is missing among those that belong together by their names.

    ``train-00000-of-00005.parquet`` says how many there are. ``train-0000.tar`` and ``train-0002.tar`` do
    not, but begin at 0 or 1 and have a gap. Endings do not matter.

    Raises:
        DamagedSourceError: Names the first that is missing, and their number.
    """
    series: dict[tuple[Path, str, str | None], list[re.Match[str]]] = {}
    for path in files:
        if named := _NAME.fullmatch(path.name):
            series.setdefault((path.parent, named[1], named[3]), []).append(named)
    for (folder, start, total), names in sorted(series.items(), key=lambda entry: str(entry[0])):
        numbers = {int(named[2]) for named in names}
        first, end = (0, int(total)) if total else (min(numbers), max(numbers) + 1)
        n_missing = end - first - sum(first <= number < end for number in numbers)
        if first <= 1 and n_missing:  # names that begin elsewhere are years, or a choice
            number = next(number for number in range(first, end) if number not in numbers)
            missing = _renumber(names[0], number, width=max(len(named[2]) for named in names))
            raise DamagedSourceError(
                f"{n_missing} of {end - first} files of {start.rstrip('-_') or 'the series'!r} are missing in"
                f" {folder}, such as {missing}; add what is missing, or name each file that is meant in"
                " `splits` without path"
            )


def _renumber(named: re.Match[str], number: int, *, width: int) -> str:
    start, own, total, endings = named.groups(default="")
    digits = f"{number:0{width if own.startswith('0') and len(own) > 1 else 0}d}"
    return f"{start}{digits}{total and f'-of-{total}'}{endings}"

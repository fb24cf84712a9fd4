"""Path data of SVG in few characters: relative, rounded without drift."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(r"([MLHVCQZz])|(-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)")
_N_NUMBERS = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "Q": 4}


def shorten_number(text: str, digits: int) -> str:
    """Return a number rounded and without superfluous characters.

    Example:
        >>> shorten_number("-0.504", 1), shorten_number("12.00", 1), shorten_number("-0.01", 1)
        ('-.5', '12', '0')
    """
    return _written(round(float(text) * 10**digits), digits)


def shorten_path(data: str, digits: int = 1) -> str:
    """Return path data with relative commands, each point rounded by itself so that errors do not add up.

    Args:
        data: Absolute commands M, L, H, V, C, Q, z, each written out.
        digits: Digits after the point that are kept.

    Raises:
        ValueError: If there is another command.

    Example:
        >>> shorten_path("M 10 20.04 L 30.26 20.04 L 30.26 5 z")
        'M10 20h20.3v-15z'
    """
    written: list[str] = []
    here = start = (0, 0)
    last = ""
    for command, numbers in _commands(data, digits):
        if command in "Zz":
            written.append("z")
            here, last = start, "z"
            continue
        points = list(zip(numbers[::2], numbers[1::2], strict=True)) if command not in "HV" else []
        if command in "HV":
            end = (numbers[0], here[1]) if command == "H" else (here[0], numbers[0])
        else:
            end = points[-1]
        if command == "L" and end == here and last == "l":
            continue
        letter, offsets = _relative(command, here, end, points)
        if command == "M" and not written:
            letter, offsets = "M", list(end)
        written.append(_joined(letter, offsets, digits, is_repeated=letter == last and letter not in "mM"))
        here, last = end, letter
        start = end if command == "M" else start
    return "".join(written)


def _commands(data: str, digits: int) -> Iterator[tuple[str, list[int]]]:
    """Yield each command with its numbers as whole units of the last digit."""
    if leftover := _TOKEN.sub("", data).strip(" ,\n\t"):
        raise ValueError(f"path data may hold the commands M, L, H, V, C, Q and z, got {leftover[:20]!r}")
    command, numbers = "", list[int]()
    for letter, number in _TOKEN.findall(data):
        if letter:
            command, numbers = letter, []
            if letter in "Zz":
                yield letter, []
            continue
        numbers.append(round(float(number) * 10**digits))
        if len(numbers) == _N_NUMBERS[command]:
            yield command, numbers
            numbers = []
            command = "L" if command == "M" else command


def _relative(
    command: str, here: tuple[int, int], end: tuple[int, int], points: list[tuple[int, int]]
) -> tuple[str, list[int]]:
    if command in "LHV":
        across, down = end[0] - here[0], end[1] - here[1]
        if down == 0:
            return "h", [across]
        return ("v", [down]) if across == 0 else ("l", [across, down])
    return command.lower(), [value for x, y in points for value in (x - here[0], y - here[1])]


def _joined(letter: str, offsets: list[int], digits: int, *, is_repeated: bool) -> str:
    text = "" if is_repeated else letter
    for value in offsets:
        number = _written(value, digits)
        is_apart = not text or text[-1].isdigit() or text[-1] == "."
        text += f" {number}" if is_apart and not number.startswith("-") else number
    return text


def _written(units: int, digits: int) -> str:
    if units == 0:
        return "0"
    sign, whole = "-" if units < 0 else "", f"{abs(units):0{digits + 1}d}"
    text = f"{whole[: len(whole) - digits]}.{whole[len(whole) - digits :]}".rstrip("0").rstrip(".")
    return sign + text.removeprefix("0")

"""Ways to spoil a file: bits, lengths, repeated and missing blocks, numbers at their extremes."""

import struct
import zlib

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
            0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 10**18)  # fmt: skip
TAR_BLOCK = 512


def mutate(content, rng, *, n_most=3):
    """Return the content changed in one to some ways."""
    for _ in range(rng.randint(1, n_most)):
        content = rng.choice(MUTATIONS)(content, rng)
    return content


def place(content, rng):
    """Return a position, most often near the beginning or the end, where headers are."""
    if not content:
        return 0
    near = min(len(content), 256)
    return rng.choice(
        (rng.randrange(near), len(content) - 1 - rng.randrange(near), rng.randrange(len(content)))
    )


def flip_bits(content, rng):
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[place(changed, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_extreme(content, rng):
    """Overwrite what may be a number with an extreme one."""
    changed = bytearray(content)
    width = rng.choice((1, 2, 4, 8))
    number = rng.choice(EXTREMES) & ((1 << 8 * width) - 1)
    start = place(changed, rng)
    changed[start : start + width] = number.to_bytes(width, rng.choice(("big", "little")))
    return bytes(changed)


def truncate(content, rng):
    return content[: place(content, rng)]


def remove(content, rng):
    start = place(content, rng)
    return content[:start] + content[start + rng.choice((1, 4, 16, 512, 4096)) :]


def repeat(content, rng):
    start = place(content, rng)
    block = content[start : start + rng.choice((1, 4, 16, 512, 4096))]
    return content[:start] + block * rng.choice((2, 3, 50)) + content[start:]


def blank(content, rng):
    start = place(content, rng)
    width = rng.choice((1, 4, 16, 64))
    return content[:start] + bytes(min(width, len(content) - start)) + content[start + width :]


def move(content, rng):
    first, second = sorted((place(content, rng), place(content, rng)))
    return content[second:] + content[first:second] + content[:first]


MUTATIONS = (flip_bits, set_extreme, truncate, remove, repeat, blank, move, flip_bits, set_extreme)


def repair_png(content):
    """Return a PNG whose checksums are right again, so that the decoder reads on."""
    changed, at = bytearray(content), 8
    while at + 12 <= len(changed):
        end = at + 8 + int.from_bytes(changed[at : at + 4], "big")
        if end + 4 > len(changed):
            break
        changed[end : end + 4] = struct.pack(">I", zlib.crc32(changed[at + 4 : end]))
        at = end + 4
    return bytes(changed)


def repair_tar(content):
    """Return an archive whose headers have right checksums again."""
    changed = bytearray(content)
    for at in range(0, len(changed) - TAR_BLOCK + 1, TAR_BLOCK):
        if changed[at + 257 : at + 262] == b"ustar":
            changed[at + 148 : at + 156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + TAR_BLOCK])
    return bytes(changed)


# ---------------------------------------------------------------- YAML

SCALARS = (
    *("null", "true", "-1", "0", "1e999", ".nan", "-.inf", "''", "[]", "{}", "[[[]]]", "{a: {b: c}}", "~"),
    *("2024-99-99", "0x_", "1_000_000_000", "1e18", "'<script>'", "!!python/object:os.system x", "- - - -"),
    *(
        "!!binary aGk=",
        "[1, [2, {3: 4}]]",
        "&a [*a]",
        "*unknown",
        "? [a]",
        '"\\ud800"',
        "'../../etc'",
        "%TAG",
    ),
    *(
        "x: y: z",
        "9" * 5001,
        "[" * 3000 + "]" * 3000,
        "{a: " * 900 + "1" + "}" * 900,
        "'" + "x" * 100_000 + "'",
    ),
)
BOMB = "&l0 [x, x, x, x, x, x, x, x, x]"


def mutate_yaml(text, rng):
    """Return a YAML text with some lines of other meaning."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        number = rng.randrange(len(lines)) if lines else 0
        change = rng.randrange(7)
        if not lines:
            return text
        line = lines[number]
        key, colon, _ = line.partition(":")
        if change <= 2 and colon:
            lines[number] = f"{key}: {rng.choice(SCALARS)}"
        elif change == 3:
            lines.insert(number, line)
        elif change == 4:
            lines[number] = " " * rng.randrange(6) + line.strip()
        elif change == 5 and colon:
            lines[number] = f"{key}: {_alias_bomb(rng.choice((3, 9)))}"
        else:
            lines[number] = mutate(line.encode(), rng, n_most=1).decode("utf-8", "replace")
    return "\n".join(lines) + "\n"


def _alias_bomb(depth):
    """Return nested lists of which each names the one before nine times."""
    parts = [BOMB]
    for level in range(1, depth):
        parts.append(f"&l{level} [{', '.join([f'*l{level - 1}'] * 9)}]")
    return f"[{', '.join(parts)}]"


def mutate_json(text, rng):
    """Return a JSON text with one value of another type, or spoiled bytes."""
    if rng.random() < 0.3:
        return mutate(text.encode(), rng).decode("utf-8", "replace")
    values = ("null", "true", "-1", "1e999", "{}", "[]", "[1]", '"x"', '{"a": [1]}', "NaN", "[" * 9999)
    places = [at for at, letter in enumerate(text) if letter in '{["']
    start = rng.choice(places)
    closing = {"{": "}", "[": "]", '"': '"'}[text[start]]
    end = text.find(closing, start + 1)
    return text[:start] + rng.choice(values) + text[end + 1 :]

"""Values that the decoder's library takes for others than the format says."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.stimuli.test_image_kinds import chunk

from rep_kedro.stimuli.pixels import UnreadableImageError, decode_image

GREY, RGB, PALETTE = 0, 2, 3


def png_of(rows, bits, colour_type, *chunks):
    """Return a PNG of rows of packed bytes, two pixels high and as wide as the bits allow in one byte."""
    channels = 3 if colour_type == RGB else 1
    width = len(rows[0]) * 8 // (bits * channels)
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *chunks, pixels, chunk(b"IEND", b"")])


def clear(*values):
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def first_row(encoded):
    return np.asarray(decode_image(encoded).image.convert("L"))[0].tolist()


@pytest.mark.parametrize(
    ("bits", "row", "transparent", "shown"),
    [
        (1, 0b01010101, 0, [255, 255, 255, 255, 255, 255, 255, 255]),
        (1, 0b01010101, 1, [0, 255, 0, 255, 0, 255, 0, 255]),
        (2, 0b00011011, 1, [0, 255, 170, 255]),
        (2, 0b00011011, 2, [0, 85, 255, 255]),
        (2, 0b00011011, 0b110, [0, 85, 255, 255]),  # the bits above those of a sample do not count
        (4, 0x15, 1, [255, 85]),
        (4, 0x15, 5, [17, 255]),
        (8, 10, 10, [255]),
        (8, 10, 0x10A, [255]),
        (8, 10, 11, [10]),
    ],
)
def test_the_transparent_grey_is_compared_with_samples(bits, row, transparent, shown):
    assert first_row(png_of([bytes([row])] * 2, bits, GREY, clear(transparent))) == shown


def test_the_transparent_colour_is_compared_with_samples():
    rows = [bytes([10, 20, 30])] * 2
    assert first_row(png_of(rows, 8, RGB, clear(10, 20, 30))) == [255]
    assert first_row(png_of(rows, 8, RGB, clear(0x10A, 20, 30))) == [255]
    assert first_row(png_of(rows, 8, RGB, clear(10, 20, 31))) == [18]


def test_a_colour_that_the_palette_lacks_is_damage():
    palette = chunk(b"PLTE", bytes([0, 0, 0, 255, 255, 255]))
    assert first_row(png_of([bytes([0, 1])] * 2, 8, PALETTE, palette)) == [0, 255]
    for row, bits, colour in ((bytes([0, 2]), 8, 2), (bytes([0x19]), 4, 9), (bytes([0b00011011]), 2, 3)):
        with pytest.raises(UnreadableImageError, match=rf"has colour {colour}, its palette has 2 \(from 0\)"):
            decode_image(png_of([row] * 2, bits, PALETTE, palette))


def test_a_bitmap_with_a_short_palette_is_read_and_checked():
    stream = io.BytesIO()
    indexed = Image.new("P", (4, 1))
    indexed.putpalette([10, 10, 10, 90, 90, 90] + [0] * (254 * 3))
    indexed.putdata([0, 1, 1, 0])
    indexed.save(stream, "BMP")
    content = bytearray(stream.getvalue())
    pixels = content[-4:]
    short = content[: 54 + 2 * 4] + pixels
    short[10:14], short[46:50] = struct.pack("<I", 54 + 2 * 4), struct.pack("<I", 2)
    assert first_row(bytes(short)) == [10, 90, 90, 10]
    short[-1] = 7
    with pytest.raises(UnreadableImageError, match=r"has colour 7, its palette has 2"):
        decode_image(bytes(short))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "BMP"])
def test_palettes_of_all_formats_are_accepted(kind):
    stream = io.BytesIO()
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).convert("RGB")
    image.quantize(20).save(stream, kind)
    assert decode_image(stream.getvalue()).image.size == (8, 8)


@pytest.mark.parametrize(
    ("encoded", "found"),
    [
        (b"P5 2 1 100\n" + bytes([50, 101]), 101),
        (b"P6 1 1 254\n" + bytes([0, 255, 0]), 255),
        (b"P5 2 1 4095\n" + struct.pack(">HH", 4095, 5000), "5,000"),
        (b"P6 1 1 1000\n" + struct.pack(">HHH", 0, 0, 1001), "1,001"),
    ],
)
def test_a_portable_map_above_its_own_largest_value_is_damage(encoded, found):
    with pytest.raises(UnreadableImageError, match=f"a value of {found}, above the largest that the file"):
        decode_image(encoded)


def test_bytes_behind_the_pixels_of_a_portable_map_are_no_values():
    assert first_row(b"P5 2 1 100\n" + bytes([0, 100, 255])) == [0, 255]
    with pytest.raises(UnreadableImageError, match=r"not enough image data|truncated"):
        decode_image(b"P5 2 2 100\n" + bytes([0, 100, 50]))

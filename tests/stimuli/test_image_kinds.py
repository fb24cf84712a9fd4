"""Every kind of image is decoded by one rule, and a check accepts exactly what is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rep_kedro.stimuli import UnreadableImageError, decode_images
from rep_kedro.stimuli.decoding import check_images
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.pixels import decode_image
from rep_kedro.stimuli.wide_values import ValueRange

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
CLEAR = np.dstack([COLOUR, RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8)])
GREY_TYPE, RGB_TYPE, GREY_ALPHA_TYPE, RGBA_TYPE = 0, 2, 4, 6


def encode(image, kind="PNG", **options):
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encode_png16(values, colour_type, clear=b""):
    """Return a PNG of 16 bits per channel of (height, width, channels) values."""
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), clear and chunk(b"tRNS", clear), chunk(b"IDAT", zlib.compress(raw))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def encode_tiff(values, *, bits=16, sign=1, photometric=None, order="<", packed=False, planes=False, **tags):
    """Return a TIFF of (height, width, channels) values of one width."""
    height, width, channels = values.shape
    content = values.transpose(2, 0, 1) if planes else values
    data = content.astype(f"{order}{'iuf'[{2: 0, 1: 1, 3: 2}[sign]]}{max(1, bits // 8)}").tobytes()
    if bits == 12:
        pairs = values.reshape(-1, 2)
        data = b"".join(((int(a) << 12) | int(b)).to_bytes(3, "big") for a, b in pairs)
    if packed:
        data = zlib.compress(data)
    photometric = (2 if channels >= 3 else 1) if photometric is None else photometric
    n_entries = 11 + (channels > 3) + len(tags)
    end = 8 + 2 + 12 * n_entries + 4
    short = lambda value: (3, 1, struct.pack(order + "HH", value, 0))  # noqa: E731
    long = lambda value: (4, 1, struct.pack(order + "I", value))  # noqa: E731
    size = len(data) // channels if planes else len(data)
    places = end + 4 * channels
    strips = [places + 4 * channels * 2 + size * number for number in range(channels if planes else 1)]
    many = planes and channels > 1
    entries = {
        256: long(width), 257: long(height), 259: short(8 if packed else 1), 262: short(photometric),
        258: (3, channels, struct.pack(order + "I", end)) if channels > 1 else short(bits),
        273: (4, channels, struct.pack(order + "I", places)) if many else long(strips[0]),
        277: short(channels), 278: long(height),
        279: (4, channels, struct.pack(order + "I", places + 4 * channels)) if many else long(size),
        284: short(2 if planes else 1),
        339: (3, channels, struct.pack(order + "I", end + 2 * channels)) if channels > 1 else short(sign),
    }  # fmt: skip
    if channels > 3:
        entries[338] = short(2)
    entries |= {int(tag[1:]): long(value) for tag, value in tags.items()}
    body = b"".join(
        struct.pack(order + "HHI", tag, *entry[:2]) + entry[2] for tag, entry in sorted(entries.items())
    )
    tail = struct.pack(f"{order}{2 * channels}H", *[bits] * channels, *[sign] * channels)
    tail += b"".join(struct.pack(f"{order}{channels}I", *part) for part in ((strips * channels)[:channels],
                                                                           [size] * channels))  # fmt: skip
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return start + body + bytes(4) + tail + data


def decode(encoded, channels=3, size_px=8):
    assert next(check_images([encoded])).size == (size_px, size_px)
    return decode_images([encoded], size_px=size_px, channels=channels)[0].transpose(1, 2, 0)


def over_white(rgba):
    layer = Image.fromarray(rgba)
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, layer).convert("RGB"))


def to_8_bits(values, largest=65535):
    return np.rint(values * (255 / largest)).astype(np.uint8)


# ---------------------------------------------------------------- 16 bits per channel


@pytest.mark.parametrize("colour_type", [GREY_TYPE, RGB_TYPE, GREY_ALPHA_TYPE, RGBA_TYPE])
def test_sixteen_bits_of_every_png_are_scaled_and_rounded(colour_type):
    channels = {GREY_TYPE: 1, RGB_TYPE: 3, GREY_ALPHA_TYPE: 2, RGBA_TYPE: 4}[colour_type]
    values = RNG.integers(0, 65536, (8, 8, channels))
    narrow = to_8_bits(values)
    if colour_type == GREY_ALPHA_TYPE:
        narrow = np.dstack([narrow[..., :1].repeat(3, axis=2), narrow[..., 1:]])
    expected = over_white(narrow) if channels in {2, 4} else narrow.repeat(3 // channels, axis=2)
    assert np.array_equal(decode(encode_png16(values, colour_type)), expected)


def test_the_transparent_value_of_sixteen_bits_is_compared_in_sixteen_bits():
    values = np.full((8, 8, 3), 513)
    values[0, 0] = 512  # the upper bytes are equal
    found = decode(encode_png16(values, RGB_TYPE, clear=struct.pack(">HHH", 512, 512, 512)))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert (found.reshape(-1, 3)[1:] == 2).all()
    grey = decode(encode_png16(values[..., :1], GREY_TYPE, clear=struct.pack(">H", 512)))
    assert np.array_equal(grey, found)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_of_every_tiff_are_scaled_and_rounded(channels, order, packed):
    values = RNG.integers(0, 65536, (8, 8, channels))
    narrow = to_8_bits(values)
    expected = over_white(narrow) if channels == 4 else narrow.repeat(3 // channels, axis=2)
    assert np.array_equal(decode(encode_tiff(values, order=order, packed=packed)), expected)


def test_twelve_bits_that_a_tiff_declares_are_scaled_by_their_own_largest_value():
    values = RNG.integers(0, 4096, (8, 8, 1))
    encoded = encode_tiff(values, bits=12)
    assert np.array_equal(decode(encoded), to_8_bits(values, 4095).repeat(3, axis=2))
    assert next(check_images([encoded])).wide_range is None


def test_a_grey_tiff_whose_zero_is_white_is_not_shown_as_a_negative():
    values = RNG.integers(0, 65536, (8, 8, 1))
    found = decode(encode_tiff(values, photometric=0))
    assert np.array_equal(found, to_8_bits(65535 - values).repeat(3, axis=2))


def test_a_portable_map_states_its_largest_value_itself():
    values = RNG.integers(0, 1001, (8, 8))
    encoded = b"P5 8 8 1000\n" + values.astype(">u2").tobytes()
    assert np.abs(decode(encoded)[..., 0].astype(int) - to_8_bits(values, 1000)).max() <= 1
    assert next(check_images([encoded])).wide_range is None


def test_the_range_of_sixteen_bits_is_found_and_the_largest_value_can_be_given():
    values = np.linspace(7, 4000, 64).astype(int).reshape(8, 8)
    for encoded in (
        encode_png16(values[..., None], GREY_TYPE),
        encode_png16(values[..., None].repeat(3, axis=2), RGB_TYPE),
        encode_tiff(values[..., None]),
    ):
        [found] = check_images([encoded])
        assert found.wide_range == (7, 4000)
        scaled = np.asarray(decode_image(encoded, value_range=ValueRange(0, 4095)).image.convert("L"))
        assert np.array_equal(scaled, to_8_bits(values, 4095))
        [refused] = check_images([encoded], value_range=ValueRange(0, 3999))
        assert str(refused) == "values up to 4,000, more than max_value 3,999"


# ---------------------------------------------------------------- kinds without a fixed range

NUMBERS = RNG.integers(0, 200, (8, 8, 1))
UNCLEAR = {
    "float": encode_tiff(NUMBERS, bits=32, sign=3),
    "float 16": encode_tiff(NUMBERS, bits=16, sign=3),
    "int32": encode_tiff(NUMBERS, bits=32, sign=2),
    "uint32": encode_tiff(NUMBERS, bits=32),
    "int16": encode_tiff(NUMBERS, bits=16, sign=2),
    "int16, other order": encode_tiff(NUMBERS, bits=16, sign=2, order=">"),
    "int8": encode_tiff(NUMBERS // 2, bits=8, sign=2),
    "16 bits in planes": encode_tiff(NUMBERS.repeat(3, axis=2), planes=True),
    "16 bits in planes, packed": encode_tiff(NUMBERS.repeat(3, axis=2), planes=True, packed=True),
    "portable float": b"Pf 8 8 -1.0\n" + NUMBERS.astype("<f4").tobytes(),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_values_without_a_fixed_range_are_refused_by_check_and_decoding(kind):
    [found] = check_images([UNCLEAR[kind]])
    assert isinstance(found, UnreadableImageError)
    with pytest.raises(UnreadableImageError, match=r"^image 'cat/1.tif' cannot be decoded: "):
        decode_images([UNCLEAR[kind]], size_px=8, names=["cat/1.tif"])


def test_numbers_of_32_bits_are_refused_with_what_to_do():
    [found] = check_images([UNCLEAR["int32"]])
    expected = "whole numbers with a sign or of 32 bits, which have no fixed range"
    assert str(found) == f"pixels are {expected}; store 8 or 16 bits, or set value_window"


# ---------------------------------------------------------------- frames, transparency, colours


def test_of_several_frames_the_first_counts_and_the_check_says_so():
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 100, 50)]
    options = {"save_all": True, "append_images": frames[1:]}
    for kind, more in {"GIF": {}, "WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}.items():
        encoded = encode(frames[0], kind, **options, **more)
        assert (decode(encoded) == 200).all(), kind
        assert next(check_images([encoded])).has_more_frames, kind
        assert not next(check_images([encode(frames[0], kind, **more)])).has_more_frames, kind


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16")


def save_every_mode():
    """Yield (format and mode, file) of all modes that the library writes in a format that is read."""
    for mode in MODES:
        image = Image.fromarray(CLEAR if mode == "RGBA" else COLOUR)
        if mode == "I;16":
            image = Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 257)
        else:
            image = (image.convert("P") if mode == "PA" else image).convert(mode)
        for kind in ("PNG", "TIFF", "WEBP", "JPEG", "GIF", "BMP", "PPM"):
            try:
                yield f"{kind} {mode}", encode(image, kind)
            except (OSError, ValueError):
                continue  # the library does not write it


SAVED = dict(save_every_mode())


@pytest.mark.parametrize("kind", SAVED)
def test_check_accepts_what_is_decoded_and_sees_the_same_size(kind):
    [found] = check_images([SAVED[kind]])
    if isinstance(found, UnreadableImageError):
        with pytest.raises(UnreadableImageError):
            decode_images([SAVED[kind]], size_px=8)
    else:
        assert found.size == (8, 8)
        assert decode_images([SAVED[kind]], size_px=8).shape == (1, 3, 8, 8)
    is_refused = {"TIFF F", "TIFF I", "PPM F"}
    assert isinstance(found, UnreadableImageError) == (kind in is_refused), kind


def test_grey_with_transparency_and_palettes_with_transparency_lie_over_white():
    grey_alpha = Image.merge("LA", [Image.fromarray(COLOUR[..., 0]), Image.fromarray(CLEAR[..., 3])])
    expected = over_white(np.asarray(grey_alpha.convert("RGBA")))
    assert np.array_equal(decode(encode(grey_alpha)), expected)
    palette = Image.fromarray(COLOUR).quantize(8)
    alphas = bytes(range(0, 256, 32))
    expected = over_white(
        np.dstack([np.asarray(palette.convert("RGB")), np.array(list(alphas), np.uint8)[np.asarray(palette)]])
    )
    assert np.array_equal(decode(encode(palette, transparency=alphas)), expected)


def test_a_large_transparent_image_is_laid_over_white_without_seams():
    rgba = RNG.integers(0, 256, (1100, 1000, 4), dtype=np.uint8)  # more than one band
    assert np.array_equal(np.asarray(decode_image(encode(rgba)).image), over_white(rgba))


def test_a_progressive_image_is_decoded_and_found_truncated():
    encoded = encode(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG", progressive=True)
    assert next(check_images([encoded])).size == (64, 64)
    [cut] = check_images([encoded[: len(encoded) * 2 // 3]])
    assert isinstance(cut, UnreadableImageError)


def test_a_progressive_image_of_endless_scans_is_refused():
    encoded = encode(COLOUR, "JPEG", progressive=True)
    last = encoded[encoded.rindex(b"\xff\xda") : -2]
    for n_more, is_refused in ((80, False), (100, True)):
        [found] = check_images([encoded[:-2] + last * n_more + encoded[-2:]])
        assert isinstance(found, UnreadableImageError) == is_refused
    assert "more than 100 scans" in str(found)


def test_a_colour_profile_is_not_applied():
    assert np.array_equal(decode(encode(COLOUR, icc_profile=b"no profile")), COLOUR)


# ---------------------------------------------------------------- sizes

GIANT = {
    "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b""),
    "webp, VP8X": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + b"\xff\xff\0" * 2 + bytes(8),
    "webp, VP8L": b"RIFF\x1e\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + b"\xff\xff\xff\x0f" + bytes(12),
    "webp, VP8": b"RIFF\x1e\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(12),
    "gif": b"GIF89a\xff\xff\xff\xff\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\0;",
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
    "ppm": b"P6 30000 30000 255\n" + bytes(99),
    "tiff": encode_tiff(NUMBERS, bits=8, t256=1 << 20, t257=1 << 20),
    "tiff tile": encode_tiff(NUMBERS, bits=8, t322=1 << 16, t323=1 << 16, t324=8, t325=64),
}  # fmt: skip


@pytest.mark.parametrize("kind", GIANT)
def test_giant_images_are_refused_by_their_header(kind):
    [found] = check_images([GIANT[kind]])
    assert "pixels, the limit is 67,108,864; if meant, raise limits.image_pixels" in str(found)


def test_a_file_larger_than_a_record_is_refused():
    [found] = check_images([encode(COLOUR)], limits=Limits(record_bytes=100))
    assert "the file has" in str(found)
    assert "bytes, the limit is 100; if meant, raise limits.record_bytes of the stimulus set" in str(found)

"""Orientation comes from its own tag alone, and no other metadata makes an image unreadable."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from rep_kedro.stimuli.decoding import check_images, decode_images
from rep_kedro.stimuli.orientation import set_upright

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
UPRIGHT = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, -1),
    7: PIXELS.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90(PIXELS),
}
ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, UNIT, EXIF_FOLDER = 0x0112, 0x011A, 0x011B, 0x0128, 0x8769


def make_exif(entries, *, order="<", tail=b"", n_entries=None):
    """Return EXIF of (tag, type, count, four bytes of value) entries."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    count = struct.pack(order + "H", len(entries) if n_entries is None else n_entries)
    return b"Exif\0\0" + start + count + body + b"\0\0\0\0" + tail


def turned(value, order="<"):
    return (ORIENTATION, SHORT, 1, struct.pack(order + "HH", value, 0))


BROKEN = {
    "text for a resolution": [(X_RESOLUTION, ASCII, 4, b"72\0\0"), (Y_RESOLUTION, ASCII, 4, b"72\0\0")],
    "text, with a unit": [(X_RESOLUTION, ASCII, 4, b"72\0\0"), (UNIT, SHORT, 1, b"\3\0\0\0")],
    "a unit in text": [(UNIT, ASCII, 4, b"cm\0\0")],
    "a rational behind the end": [(X_RESOLUTION, RATIONAL, 1, b"\xff\xff\0\0")],
    "a short where a pair belongs": [(X_RESOLUTION, SHORT, 1, b"\1\0\0\0")],
    "an unknown type": [(0x9999, 77, 1, b"\0\0\0\0")],
    "a giant count": [(0x9999, ASCII, 0xFFFFFFFF, b"\0\0\0\0")],
    "a folder that leads nowhere": [(EXIF_FOLDER, LONG, 1, b"\xff\xff\xff\xff")],
    "a folder that is this one": [(EXIF_FOLDER, LONG, 1, b"\x08\0\0\0")],
    "a folder in text": [(EXIF_FOLDER, ASCII, 4, b"abc\0")],
}


def encode(kind, exif, pixels=PIXELS):
    stream = io.BytesIO()
    options = {"PNG": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}[kind]
    Image.fromarray(pixels).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def encode_tiff(entries, *, order="<"):
    """Return an uncompressed TIFF of the pixels with further entries in its directory."""
    height, width, _ = PIXELS.shape
    short = lambda value: struct.pack(order + "HH", value, 0)  # noqa: E731
    long = lambda value: struct.pack(order + "I", value)  # noqa: E731
    own = [(256, LONG, 1, long(width)), (257, LONG, 1, long(height)), (259, SHORT, 1, short(1)),
           (262, SHORT, 1, short(2)), (277, SHORT, 1, short(3)), (278, LONG, 1, long(height)),
           (279, LONG, 1, long(PIXELS.size))]  # fmt: skip
    end = 8 + 2 + 12 * (len(own) + 2 + len(entries)) + 4
    own += [(258, SHORT, 3, long(end)), (273, LONG, 1, long(end + 6))]
    tail = struct.pack(order + "HHH", 8, 8, 8) + PIXELS.tobytes()
    return make_exif(sorted([*own, *entries]), order=order, tail=tail)[6:]


def decode(encoded, size_px=6):
    assert check_images([encoded]).__next__().size == (size_px, size_px)
    return decode_images([encoded], size_px=size_px)[0].transpose(1, 2, 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_all_eight_orientations_are_applied_in_every_format(orientation, order):
    exif = make_exif([turned(orientation, order)], order=order)
    for kind in ("PNG", "WEBP"):
        assert np.array_equal(decode(encode(kind, exif)), UPRIGHT[orientation]), kind
    assert np.array_equal(
        decode(encode_tiff([turned(orientation, order)], order=order)), UPRIGHT[orientation]
    )
    jpeg = decode(encode("JPEG", exif)).astype(int)
    plain = decode(encode("JPEG", make_exif([]))).astype(int)
    turn = {1: plain, 2: plain[:, ::-1], 3: plain[::-1, ::-1], 4: plain[::-1], 5: plain.transpose(1, 0, 2),
            6: np.rot90(plain, -1), 7: plain.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(plain)}  # fmt: skip
    assert np.array_equal(jpeg, turn[orientation])


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_decoders_own_transposition_agrees(orientation):
    encoded = encode("PNG", make_exif([turned(orientation)]))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    assert np.array_equal(decode(encoded), expected)


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_other_metadata_however_broken_neither_stop_nor_change_an_image(kind, fault):
    entries = sorted([turned(6), *BROKEN[fault]])
    if kind == "TIFF":
        assert np.array_equal(decode(encode_tiff(entries)), UPRIGHT[6])
        return
    found, expected = (decode(encode(kind, make_exif(e))) for e in (entries, [turned(6)]))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "entry",
    [
        turned(0),
        turned(9),
        turned(0xFFFF),
        (ORIENTATION, ASCII, 2, b"6\0\0\0"),
        (ORIENTATION, SHORT, 2, b"\6\0\6\0"),
        (ORIENTATION, RATIONAL, 1, b"\xff\0\0\0"),
    ],
)
def test_a_tag_that_says_nothing_leaves_the_image_as_it_is(entry):
    assert np.array_equal(decode(encode("PNG", make_exif([entry]))), PIXELS)
    assert np.array_equal(decode(encode_tiff([entry])), PIXELS)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II", b"Exif\0\0XX*\0\1\0\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_metadata_that_are_cut_short_mean_upright(exif):
    assert np.array_equal(decode(encode("PNG", exif)), PIXELS)


def test_a_directory_that_claims_more_entries_than_there_are_is_read_as_far_as_it_goes():
    assert np.array_equal(decode(encode("PNG", make_exif([turned(3)], n_entries=0xFFFF))), UPRIGHT[3])


def test_where_exif_says_nothing_xmp_counts():
    def with_xmp(exif):
        remark = PngImagePlugin.PngInfo()
        remark.add_itxt("XML:com.adobe.xmp", '<rdf tiff:Orientation="6"/>')
        stream = io.BytesIO()
        Image.fromarray(PIXELS).save(stream, "PNG", pnginfo=remark, **exif)
        return stream.getvalue()

    assert np.array_equal(decode(with_xmp({})), UPRIGHT[6])
    assert np.array_equal(decode(with_xmp({"exif": make_exif([turned(3)])})), UPRIGHT[3])


def test_orientation_in_a_raw_profile_counts_even_behind_the_pixels():
    def with_profile(digits):
        text = f"\nexif\n{len(digits) // 2:8}\n{digits}\n"
        content = b"Raw profile type exif\0" + text.encode()
        chunk = struct.pack(">I", len(content)) + b"tEXt" + content
        chunk += struct.pack(">I", zlib.crc32(b"tEXt" + content))
        stream = io.BytesIO()
        Image.fromarray(PIXELS).save(stream, "PNG")
        return stream.getvalue()[:-12] + chunk + stream.getvalue()[-12:]

    assert np.array_equal(decode(with_profile(make_exif([turned(8)]).hex())), UPRIGHT[8])
    assert np.array_equal(decode(with_profile("no hex")), PIXELS)


def test_the_tag_of_a_big_tiff_is_found():
    entry = struct.pack("<HHQQ", ORIENTATION, SHORT, 1, 6)
    big = b"II\x2b\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + entry + bytes(8)
    changed, orientation = set_upright(big)
    assert orientation == 6
    assert changed == big.replace(entry, struct.pack("<HHQQ", ORIENTATION, SHORT, 1, 1))


def test_a_preview_behind_a_jpeg_that_is_broken_does_not_matter():
    plain = encode("JPEG", make_exif([turned(3)]))
    index = b"MPF\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0xB001, LONG, 1, 2) + bytes(4)
    segment = b"\xff\xe2" + struct.pack(">H", len(index) + 2) + index
    assert np.array_equal(decode(plain[:2] + segment + plain[2:]), decode(plain))

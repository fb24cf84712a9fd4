"""AVIF, HEIC, JPEG 2000 and windows of deep grey: decoded as they are checked, or refused by name."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from tests.stimuli.trees import plant

from rep_kedro.stimuli import later_formats
from rep_kedro.stimuli.decoding import check_images, decode_images
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.pixels import UnreadableImageError, decode_image
from rep_kedro.stimuli.wide_values import ValueRange

FORMATS = {"AVIF": {"quality": 100}, "HEIF": {"quality": 100}, "JPEG2000": {}}
LOSS = {"AVIF": 12, "HEIF": 12, "JPEG2000": 0}  # of 255; colours have half the resolution
HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
UPRIGHT, TURNED = 1, 6


def photo(width=48, height=32):
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return (np.stack([across, down, 1 - across], axis=-1) * 255).round().astype(np.uint8)


def encode(pixels, kind, **how):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed").register_heif_opener()
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **{**FORMATS.get(kind, {}), **how})
    return stream.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_is_seen_as_it_was_written(kind):
    [pixels] = decode_images([encode(photo(32, 32), kind)], size_px=32)
    assert np.abs(pixels.transpose(1, 2, 0).astype(int) - photo(32, 32)).max() <= LOSS[kind]


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_an_orientation_is_applied_once(kind):
    exif = Image.Exif()
    exif[0x0112] = TURNED
    image = np.asarray(decode_image(encode(photo(), kind, exif=exif.tobytes())).image).astype(int)
    assert np.abs(image - np.rot90(photo(), -1)).max() <= LOSS[kind]


@pytest.mark.parametrize("kind", FORMATS)
def test_transparency_is_put_on_white(kind):
    clear = np.dstack([photo(), np.zeros((32, 48), np.uint8)])
    assert np.asarray(decode_image(encode(clear, kind)).image).min() >= 250


def test_files_are_read_by_content_and_known_by_their_endings(make_set, tmp_path):
    files = {"a.avif": "AVIF", "b.heic": "HEIF", "c.jp2": "JPEG2000", "d.jfif": "JPEG", "e.png": "AVIF"}
    plant(tmp_path, {name: encode(photo(), kind) for name, kind in files.items()})
    table, meta = make_set(source="image_folder", path=tmp_path)
    assert (table["stimulus_id"].to_pylist(), meta["damaged"]) == (sorted(files), [])
    decode_images(table["image"], size_px=8)


def test_without_the_extra_heic_is_refused_by_name(make_set, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    plant(tmp_path, {"a.heic": HEIC_HEAD})
    with pytest.raises(
        ValueError, match=r'a\.heic \(a HEIC image, which needs the extra heic: pip install .*\[heic\]"'
    ):
        make_set(source="image_folder", path=tmp_path)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_larger_than_the_limit_is_refused_before_it_is_unpacked(kind, monkeypatch):
    encoded = encode(photo(), kind)
    monkeypatch.setattr(Image.core, "new", None)
    with pytest.raises(UnreadableImageError, match=r"48 x 32 pixels, the limit is 1,000"):
        decode_image(encoded, limits=Limits(image_pixels=1000))


def test_a_small_header_around_a_large_codestream_is_refused():
    encoded = bytearray(encode(photo(), "JPEG2000"))
    struct.pack_into(">II", encoded, encoded.find(b"ihdr") + 4, 8, 8)
    with pytest.raises(UnreadableImageError, match=r"48 x 32 pixels, the limit is 1,000"):
        decode_image(bytes(encoded), limits=Limits(image_pixels=1000))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_or_spoiled_image_is_an_error_with_a_reason(kind):
    encoded = encode(photo(), kind)
    rng = np.random.default_rng(0)
    for _ in range(20):
        spoiled = bytearray(encoded[: int(rng.integers(1, len(encoded)))])
        spoiled[int(rng.integers(len(spoiled)))] ^= 255
        [found] = check_images([bytes(spoiled)])
        assert not isinstance(found, UnreadableImageError) or str(found)
    [cut] = check_images([encoded[: len(encoded) // 2]])
    assert isinstance(cut, UnreadableImageError)


def test_grey_of_jpeg_2000_has_the_range_of_its_bits():
    values = np.linspace(0, 65535, 48 * 32).astype(np.uint16).reshape(32, 48)
    encoded = bytearray(encode(Image.fromarray(values), "JPEG2000"))
    seen = np.asarray(decode_image(bytes(encoded)).image)
    np.testing.assert_array_equal(seen, np.rint(values * (255 / 65535)))
    assert later_formats.codestreams(bytes(encoded))[0].bits == (16,)
    place = encoded.find(b"\xff\x4f\xff\x51") + 42
    for sample, maximum in ((11, 4095 << 4), (9, 1023 << 6), (15, None), (7, None)):
        encoded[place] = sample
        assert later_formats.declared_maximum(bytes(encoded)) == maximum
    for sample, message in (
        (0x8F, "with a sign or more than 16 bits"),
        (31, "with a sign or more than 16 bits"),
    ):
        encoded[place] = sample
        with pytest.raises(UnreadableImageError, match=message):
            decode_image(bytes(encoded))


def test_colours_of_jpeg_2000_with_more_than_8_bits_are_refused():
    encoded = bytearray(encode(photo(), "JPEG2000"))
    place = encoded.find(b"\xff\x4f\xff\x51") + 42
    encoded[place] = encoded[place + 3] = encoded[place + 6] = 11
    with pytest.raises(
        UnreadableImageError, match="JPEG 2000 in colour with more than 8 bits is not read exactly"
    ):
        decode_image(bytes(encoded))


WINDOW = ValueRange(-100.0, 300.0, is_window=True)
DEEP = np.array([[-1000, -100, -99, 0], [99, 100, 299, 301]])


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_a_window_cuts_off_and_scales(kind):
    encoded = tiff(DEEP.astype(kind))
    expected = np.rint((DEEP.clip(-100, 300) + 100) * (255 / 400))
    narrowed = decode_image(encoded, value_range=WINDOW)
    np.testing.assert_array_equal(np.asarray(narrowed.image), expected)
    [found] = check_images([encoded], value_range=WINDOW)
    assert found.wide_range == (-1000, 301)
    [refused] = check_images([encoded])
    assert "which have no fixed range; store 8 or 16 bits, or set value_window" in str(refused)


def tiff(values):
    """Return a grey TIFF of 16 or 32 bits, with or without a sign, or of floating-point numbers."""
    height, width = values.shape
    form = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = [(256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, values.nbytes), (339, form)]
    body = values.tobytes()
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(body))
        + body
        + struct.pack("<H", len(tags))
        + entries
        + b"\0" * 4
    )


def test_a_window_works_on_16_bits_and_is_stored_with_8(make_set, tmp_path):
    values = np.array([[0, 1000], [2000, 65535]], np.uint16)
    plant(tmp_path, {"a.tif": tiff(values), "b.png": encode(Image.fromarray(values), "PNG")})
    table, meta = make_set(source="image_folder", path=tmp_path, value_window=[1000, 3000])
    for image in decode_images(table["image"], size_px=2, channels=1):
        np.testing.assert_array_equal(image[0], [[0, 0], [128, 255]])
    assert meta["wide_values"] == {"n_images": 2, "smallest": 0.0, "largest": 65535.0}
    assert meta["source"]["value_window"] == [1000.0, 3000.0]


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (lambda: tiff(np.array([[np.nan, 1]], np.float32)), "values are NaN or infinite"),
        (lambda: tiff(np.array([[1, 2]], np.uint32)), "value_window is not applied to TIFF of this kind"),
        (lambda: b"P5 2 1 1000\n\0\1\0\2", "value_window is not applied to PPM"),
        (lambda: encode(Image.new("I;16", (4, 4), 9), "JPEG2000"), "value_window is not applied to JPEG2000"),
    ],
)
def test_what_a_window_does_not_read_exactly_is_refused(encoded, message):
    with pytest.raises(UnreadableImageError, match=message):
        decode_image(encoded(), value_range=WINDOW)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"value_window": [5, 5]}, r"a smaller and a larger number, got \[5, 5\]"),
        ({"value_window": [0, float("inf")]}, "a finite number"),
        ({"value_window": [0, 9], "max_value": 9}, "exclude each other"),
        ({"value_window": [0, 9]}, r"value_window \[0, 9\] has no effect: no image has 16 bits per channel"),
    ],
)
def test_a_window_without_sense_or_effect_is_refused(make_set, tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        make_set(source="image_folder", path=plant(tmp_path, {"a.png": 1}), **given)

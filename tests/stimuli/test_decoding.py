"""Encoded images become the pixels that the rules promise."""

import io
import struct
import warnings
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from rep_kedro.stimuli import UnreadableImageError, decode_images
from rep_kedro.stimuli.decoding import check_images
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.png import encode_png, png_size

GRADIENT = np.arange(64, dtype=np.uint8).reshape(8, 8)


def encode(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def colour_noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (5, 9, 3), (300, 260), (200, 160, 3), (7, 3, 1)])
def test_own_png_is_read_back_exactly_by_an_independent_decoder(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    encoded = encode_png(pixels)
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(encoded))), pixels.squeeze(2) if shape[2:] == (1,) else pixels
    )
    assert png_size(encoded) == (shape[1], shape[0])


def test_own_png_has_bytes_that_do_not_depend_on_the_compression_library():
    # written by hand: signature, header, one stored block with filter byte 1 and the pixel 7, end
    block = b"\x01\x07"
    stored = (
        b"\x78\x01" + b"\x01" + struct.pack("<HH", 2, 0xFFFD) + block + struct.pack(">I", zlib.adler32(block))
    )
    expected = b"\x89PNG\r\n\x1a\n"
    for kind, content in [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", stored),
        (b"IEND", b""),
    ]:
        expected += (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )
    assert encode_png(np.full((1, 1), 7, dtype=np.uint8)) == expected


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_own_png_refuses_other_pixels(pixels):
    with pytest.raises(ValueError, match=r"a PNG needs uint8 pixels .* received"):
        encode_png(pixels)


def test_pixels_of_the_right_size_are_untouched():
    noise = colour_noise(1, 9, 9)
    decoded = decode_images([encode(Image.fromarray(noise))], size_px=9)
    assert np.array_equal(decoded[0].transpose(1, 2, 0), noise)
    grey = decode_images([encode_png(GRADIENT)], size_px=8, channels=1)
    assert grey.shape == (1, 1, 8, 8)
    assert np.array_equal(grey[0, 0], GRADIENT)
    assert decoded.flags["C_CONTIGUOUS"]


def test_an_arrow_array_decodes_as_a_sequence_does():
    images = [encode_png(GRADIENT + shift) for shift in range(5)]
    expected = decode_images(images, size_px=8)
    assert np.array_equal(decode_images(pa.array(images), size_px=8), expected)
    assert np.array_equal(decode_images(pa.chunked_array([images[:2], images[2:]]), size_px=8), expected)


def test_the_exif_orientation_is_applied():
    noise = colour_noise(2, 6, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"exif": exif} | ({"lossless": True} if kind == "WEBP" else {})
        decoded = decode_images([encode(Image.fromarray(noise), kind, **options)], size_px=6)
        assert np.array_equal(decoded[0].transpose(1, 2, 0), np.rot90(noise, -1)), kind


def test_the_size_of_a_turned_image_is_that_of_the_upright_one():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(colour_noise(2, 6, 10))
    found = check_images([encode(image), encode(image, "JPEG", exif=exif)])
    assert [each.size for each in found] == [(10, 6), (6, 10)]


def test_sixteen_bit_greys_are_scaled_not_clipped():
    wide = np.array([[0, 128, 256], [257, 32768, 65535], [514, 40000, 385]], dtype=np.uint16)
    decoded = decode_images([encode(Image.fromarray(wide))], size_px=3, channels=1)
    assert np.array_equal(decoded[0, 0], [[0, 0, 1], [1, 128, 255], [2, 156, 1]])


def test_floating_point_pixels_have_no_fixed_range_and_are_refused():
    encoded = encode(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF")
    with pytest.raises(
        UnreadableImageError, match=r"image 0 of 1 .*pixels are floating-point .* no fixed range"
    ):
        decode_images([encoded], size_px=4)
    assert isinstance(next(check_images([encoded])), UnreadableImageError)


def test_transparent_pixels_are_laid_over_white():
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[0, 0] = [200, 0, 0, 255]
    rgba[0, 1] = [200, 0, 0, 0]
    rgba[1, 0] = [0, 0, 0, 128]
    decoded = decode_images([encode(Image.fromarray(rgba))], size_px=2)[0].transpose(1, 2, 0)
    assert decoded[0, 0].tolist() == [200, 0, 0]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    assert decoded[1, 0].tolist() == [127, 127, 127]


def test_palette_bilevel_grey_alpha_and_cmyk_images_become_rgb():
    flat = Image.new("RGB", (4, 4), (255, 0, 0))
    palette = flat.convert("P", palette=Image.Palette.ADAPTIVE)
    see_through = palette.copy()
    see_through.info["transparency"] = bytes([0] * 256)
    assert decode_images([encode(palette)], size_px=4)[0, :, 0, 0].tolist() == [255, 0, 0]
    assert (
        decode_images([encode(see_through, transparency=bytes([0]))], size_px=4)[0, :, 0, 0].tolist()
        == [255] * 3
    )
    bilevel = Image.fromarray(np.eye(4) > 0)
    assert decode_images([encode(bilevel)], size_px=4)[0, :, 0, :2].tolist() == [[255, 0]] * 3
    grey_alpha = Image.merge("LA", [Image.new("L", (4, 4), 9), Image.new("L", (4, 4), 255)])
    assert decode_images([encode(grey_alpha)], size_px=4)[0, :, 0, 0].tolist() == [9, 9, 9]
    cmyk = encode(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG", quality=100)
    red, green, blue = decode_images([cmyk], size_px=4)[0, :, 0, 0].tolist()
    assert red > 250
    assert max(green, blue) < 5


def test_other_shapes_are_cut_to_the_central_square():
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = colour_noise(3, 4, 4)
    decoded = decode_images([encode(Image.fromarray(pixels))], size_px=4)
    assert np.array_equal(decoded[0].transpose(1, 2, 0), pixels[:, 4:8])


def test_shrinking_averages_instead_of_dropping_pixels():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (16, 8))
    decoded = decode_images([encode_png(stripes)], size_px=4, channels=1)
    assert decoded.min() > 100
    assert decoded.max() < 155


def test_enlarging_interpolates_between_pixel_centres():
    pixels = np.array([[0, 100], [0, 100]], dtype=np.uint8)
    decoded = decode_images([encode_png(pixels)], size_px=4, channels=1)
    assert decoded[0, 0].tolist() == [[0, 25, 75, 100]] * 4


JPEG = encode(Image.fromarray(colour_noise(4, 64, 64)), "JPEG")
PNG = encode(Image.fromarray(colour_noise(4, 64, 64)))


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"", "no bytes"),
        (b"hello", "not an image of a known format"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (PNG[:-12], "truncated"),
        (PNG[:2000] + bytes([PNG[2000] ^ 1]) + PNG[2001:], "wrong checksum in PNG chunk IDAT"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
    ],
)
def test_a_damaged_image_is_named_by_position_and_reason(damaged, reason):
    with pytest.raises(UnreadableImageError, match=rf"image 1 of 3 cannot be decoded: .*{reason}"):
        decode_images([PNG, damaged, JPEG], size_px=8)
    [first, second, third] = check_images([PNG, damaged, JPEG])
    assert reason in str(second)
    assert first.size == third.size == (64, 64)


def test_an_image_that_would_fill_memory_is_refused_and_the_message_says_how_to_raise_the_limit():
    for side in (40, 64):
        bomb = encode_png(np.zeros((side, side), dtype=np.uint8))
        says = rf"{side} x {side} pixels, the limit is 1,000; if meant, raise limits.image_pixels of the"
        with pytest.raises(UnreadableImageError, match=says):
            decode_images([bomb], size_px=8, limits=Limits(image_pixels=1000))
    assert decode_images([bomb], size_px=8, limits=Limits(image_pixels=64 * 64)).shape == (1, 3, 8, 8)


def test_a_raised_limit_is_not_undone_by_the_decoders_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode_images([encode_png(np.zeros((64, 64), np.uint8))], size_px=8).shape == (1, 3, 8, 8)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_decoding_leaves_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    decode_images([PNG], size_px=8)
    assert list(warnings.filters) == before


@pytest.mark.parametrize(("size_px", "channels"), [(0, 3), (8, 2)])
def test_impossible_sizes_are_refused(size_px, channels):
    with pytest.raises(ValueError, match="size_px must be at least 1 and channels 1 or 3"):
        decode_images([PNG], size_px=size_px, channels=channels)

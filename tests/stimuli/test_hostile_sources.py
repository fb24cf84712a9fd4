"""Unusual and damaged images and archives: each is handled or refused by name, and all are counted."""

import io
import struct
import tarfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFile, PngImagePlugin
from sklearn.datasets import load_sample_image

from rep_kedro.stimuli.decoding import check_images, decode_images
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError

PHOTO = Image.fromarray(np.ascontiguousarray(load_sample_image("china.jpg")[:200, :300]))
TURNED_BY = {
    1: (),
    3: (Image.Transpose.ROTATE_180,),
    6: (Image.Transpose.ROTATE_90,),
    8: (Image.Transpose.ROTATE_270,),
}


def encode(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def make_bomb(side):
    """Return a valid PNG of black pixels, one bit each, that is a thousand times smaller than they are."""
    row = bytes(1 + side // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def make_text_bomb():
    """Return a PNG with a remark that unpacks to 80 MB."""
    text = b"Comment\0\0" + zlib.compress(bytes(80 << 20), 9)
    plain = encode_png(np.zeros((4, 4), np.uint8))
    return plain[:33] + chunk(b"zTXt", text) + plain[33:]


def difference(encoded):
    """Return the mean absolute difference of a decoded image from the photograph, in grey levels."""
    found = decode_images([encoded], size_px=64)
    expected = decode_images([encode(PHOTO, "PNG")], size_px=64)
    return float(np.abs(found.astype(int) - expected).mean())


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photograph_with_an_exif_orientation_comes_out_upright(orientation):
    lying = PHOTO
    for turn in TURNED_BY[orientation]:
        lying = lying.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(lying, "JPEG", quality=95, exif=exif)
    assert difference(encoded) < 1.5
    assert next(check_images([encoded])).size == PHOTO.size


def test_cmyk_sixteen_bit_palette_and_grey_photographs_keep_their_look():
    assert difference(encode(PHOTO.convert("CMYK"), "JPEG", quality=95)) < 3
    assert difference(encode(PHOTO.convert("CMYK"), "TIFF")) < 1
    assert difference(encode(PHOTO.quantize(256), "PNG")) < 4
    assert difference(encode(PHOTO.quantize(256), "GIF")) < 4
    grey = PHOTO.convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    expected = decode_images([encode(grey, "PNG")], size_px=64)
    assert np.array_equal(decode_images([encode(wide, "PNG")], size_px=64), expected)
    assert np.array_equal(decode_images([encode(wide, "TIFF")], size_px=64), expected)


def test_a_palette_with_transparent_colours_is_laid_over_white():
    image = PHOTO.quantize(16)
    clear = int(np.asarray(image)[100, 150])
    decoded = decode_images([encode(image, "PNG", transparency=clear)], size_px=200)[0]
    is_clear = np.asarray(image)[:, 50:250] == clear
    assert is_clear.any()
    assert (decoded[:, is_clear] == 255).all()
    assert (decoded[:, ~is_clear] < 255).any()
    assert decode_images([encode(image, "PNG", transparency=bytes([128] * 16))], size_px=200).min() >= 127


def test_images_far_larger_than_their_files_are_refused_before_they_are_decoded(
    make_set, tmp_path, jpeg, monkeypatch
):
    (tmp_path / "cat").mkdir()
    for name, content in {
        "bomb.png": make_bomb(30_000),
        "text.png": make_text_bomb(),
        "a.jpg": jpeg(0),
    }.items():
        (tmp_path / "cat" / name).write_bytes(content)
    assert (tmp_path / "cat" / "bomb.png").stat().st_size < 200_000
    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda image: (decoded.append(image.size), load(image))[1]
    )
    _, meta = make_set(source="image_folder", path=tmp_path, on_damaged="skip")
    assert decoded
    assert (30_000, 30_000) not in decoded
    reasons = {entry["item"]: entry["reason"] for entry in meta["damaged"]}
    assert "30,000 x 30,000 pixels, the limit is 67,108,864" in reasons["cat/bomb.png"]
    assert "too large" in reasons["cat/text.png"]
    assert meta["n_stimuli"] == 1


def test_threads_neither_miss_bombs_nor_disturb_each_others_filters():
    bomb, good = encode_png(np.zeros((40, 40), np.uint8)), encode_png(np.zeros((8, 8), np.uint8))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        limits = Limits(image_pixels=1000)
        check = lambda _: list(check_images([good, bomb] * 5, limits=limits))  # noqa: E731
        found = list(pool.map(check, range(100)))
    for each in found:
        assert [image.size for image in each[::2]] == [(8, 8)] * 5
        assert all("40 x 40 pixels, the limit is 1,000" in str(problem) for problem in each[1::2])
    assert list(warnings.filters) == before


def test_every_kind_of_damage_in_a_folder_is_counted_and_named(make_set, tmp_path):
    png, jpg = encode(PHOTO, "PNG"), encode(PHOTO, "JPEG")
    members = {
        "cat/good.png": png,
        "cat/also good.jpeg": jpg,
        "cat/really a png.jpg": png,
        "cat/cut.jpg": jpg[: len(jpg) // 2],
        "cat/cut.png": png[:-30],
        "cat/flipped.png": png[:5000] + bytes([png[5000] ^ 4]) + png[5001:],
        "cat/empty.webp": b"",
        "cat/notes.docx": b"PK",
        "cat/page.png": b"<html>404</html>",
        "cat/.DS_Store": b"x",
    }
    (tmp_path / "cat").mkdir()
    for name, content in members.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(
        DamagedSourceError, match=r"^6 damaged items: .*; and 1 more; repair them, or set on_damaged"
    ):
        make_set(source="image_folder", path=tmp_path)
    table, meta = make_set(source="image_folder", path=tmp_path, on_damaged="skip")
    assert sorted(table["stimulus_id"].to_pylist()) == [
        "cat/also good.jpeg",
        "cat/good.png",
        "cat/really a png.jpg",
    ]
    assert table["image"].to_pylist() == [jpg, png, png]  # as they came
    assert len(meta["damaged"]) + len(meta["ignored"]) + meta["n_stimuli"] == len(members)
    assert {entry["item"]: entry["reason"].split(" ")[0] for entry in meta["damaged"]} == {
        "cat/notes.docx": "unknown",
        "cat/cut.jpg": "image",
        "cat/cut.png": "truncated",
        "cat/empty.webp": "no",
        "cat/flipped.png": "wrong",
        "cat/page.png": "not",
    }


def test_what_is_whole_in_a_truncated_shard_is_kept_only_if_asked_for(make_set, tmp_path, write_tar, jpeg):
    members = [
        (f"s{n}.{end}", content) for n in range(6) for end, content in (("jpg", jpeg(n)), ("cls", b"0"))
    ]
    write_tar(tmp_path / "train" / "0.tar", members)
    write_tar(tmp_path / "train" / "1.tar", [("t0.jpg", jpeg(9)), ("t0.cls", b"1")])
    shard = tmp_path / "train" / "0.tar"
    shard.write_bytes(shard.read_bytes()[:4000])
    with pytest.raises(DamagedSourceError, match=r"train/0.tar \(truncated or damaged archive: "):
        make_set(source="webdataset", path=tmp_path)
    table, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    whole = [stimulus_id for stimulus_id in table["stimulus_id"].to_pylist() if "/0/" in stimulus_id]
    assert whole == [f"train/0/s{n}" for n in range(len(whole))]
    assert 0 < len(whole) < 6
    assert table["stimulus_id"][-1].as_py() == "train/1/t0"
    assert "train/0.tar" in [entry["item"] for entry in meta["damaged"]]


def test_hostile_members_of_a_shard_are_refused_and_counted(make_set, tmp_path, jpeg):
    (tmp_path / "train").mkdir()
    with tarfile.open(tmp_path / "train" / "0.tar", "w") as archive:
        for name in ("../up.jpg", "/etc/root.jpg", "C:\\win.jpg", "a/../../b.jpg", "s0.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg(0))
            archive.addfile(member, io.BytesIO(jpeg(0)))
        for name, kind in (
            ("link.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        label = tarfile.TarInfo("s0.cls")
        label.size = 1
        archive.addfile(label, io.BytesIO(b"0"))
    _, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    damaged = [entry["item"] for entry in meta["damaged"]]
    assert len([item for item in damaged if item.startswith("train/0.tar:")]) == 7
    assert meta["n_stimuli"] == 1


def test_metadata_that_the_decoder_only_remarks_on_is_no_damage():
    remark = PngImagePlugin.PngInfo()
    remark.add_text("Comment", "x" * 1000)
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"  # claims 65,535 entries
    images = [encode(PHOTO, "PNG", pnginfo=remark), encode(PHOTO, "JPEG", exif=exif)]
    assert [found.size for found in check_images(images)] == [PHOTO.size, PHOTO.size]
    assert decode_images(images, size_px=16).shape == (2, 3, 16, 16)


def test_shards_that_the_count_leaves_out_are_named(make_set, tmp_path, write_tar, jpeg):
    for number in range(3):
        write_tar(tmp_path / "train" / f"{number}.tar", [("s.jpg", jpeg(number)), ("s.cls", b"0")])
    (tmp_path / "train" / "nshards.txt").write_text("2\n")
    with pytest.raises(DamagedSourceError, match=r"train/2.tar \(a shard that nshards.txt does not count\)"):
        make_set(source="webdataset", path=tmp_path)
    _, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    assert (meta["n_stimuli"], len(meta["damaged"])) == (2, 1)


def test_class_names_that_would_shift_the_labels_are_refused(make_set, tmp_path, write_tar, jpeg):
    write_tar(tmp_path / "train" / "0.tar", [("s.jpg", jpeg(0)), ("s.cls", b"1")])
    names = tmp_path / "classnames.txt"
    names.write_bytes("\ufeffcat\r\ndog\r\n\r\n".encode())
    assert make_set(source="webdataset", path=tmp_path)[1]["class_names"] == ["cat", "dog"]
    names.write_text("cat\n\ndog\n")
    with pytest.raises(DamagedSourceError, match=r"line 2 of .*classnames.txt is empty, it names no class"):
        make_set(source="webdataset", path=tmp_path)
    names.write_bytes(b"cat\n\xff\n")
    with pytest.raises(DamagedSourceError, match=r"classnames.txt is not UTF-8"):
        make_set(source="webdataset", path=tmp_path)


def test_labels_and_names_that_no_column_can_hold_are_named(make_set, tmp_path, write_tar, jpeg):
    members = [("a.jpg", jpeg(0)), ("a.cls", b"%d" % 2**31), ("b.jpg", jpeg(1)), ("b.cls", b"-1")]
    members += [("\udcff.jpg", jpeg(2)), ("\udcff.cls", b"0"), ("c.jpg", jpeg(3)), ("c.cls", b"7")]
    write_tar(tmp_path / "train" / "0.tar", members)
    table, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    assert table["label"].to_pylist() == [7]
    assert [entry["reason"][:30] for entry in meta["damaged"]] == [
        "label 2147483648: labels look ", "label -1 is outside of the 655", "the name is not UTF-8",
    ]  # fmt: skip


def test_a_missing_parquet_file_that_others_count_is_named(make_set, tmp_path, jpeg):
    table = pa.table({"image": [jpeg(0)], "label": [0]})
    for number in (0, 2):
        pq.write_table(table, tmp_path / f"train-{number:05d}-of-00003.parquet")
    with pytest.raises(DamagedSourceError, match=r"1 of 3 files of 'train' are missing .*train-00001-of"):
        make_set(source="parquet", path=tmp_path)

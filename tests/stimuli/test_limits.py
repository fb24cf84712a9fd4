"""Small files that unpack to gigabytes are refused before memory is taken for them."""

import gzip
import io
import json
import lzma
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rep_kedro.stimuli.limits import Limits, TooLargeError
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError

ROOT = Path(__file__).parents[2]
MB = 1 << 20
PEAK_BYTES = 200 * MB
GIANT = 3 << 29  # 1.5 GB
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
IMAGE = encode_png(PIXELS)


def varint(number):
    """Return a number as Thrift writes it."""
    number, parts = number << 1, []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def write_parquet(file, images, **options):
    table = pa.table({"label": [0] * len(images), "image": images})
    pq.write_table(table, file, store_schema=False, write_statistics=False, **options)


def make_page_of_zeros(folder):
    write_parquet(folder / "a.parquet", pa.array([bytes(64 * MB)]), compression="zstd", use_dictionary=False)
    return {
        "source": "parquet",
        "limits": {"record_bytes": MB},
    }, "a page of column 'image' of a.parquet has 67,1"


def make_page_that_claims_gigabytes(folder):
    file = folder / "a.parquet"
    write_parquet(file, pa.array([IMAGE]), compression="none", use_dictionary=False)
    content = file.read_bytes()
    n_bytes = len(IMAGE) + 4 + 6  # length and levels
    announced = b"\x15\x00\x15" + varint(n_bytes)  # type of page, then bytes unpacked
    assert content.count(announced) == 1
    file.write_bytes(content.replace(announced, b"\x15\x00\x15" + varint(GIANT)))
    return {"source": "parquet"}, "a page of column 'image' of a.parquet has 1,610,612,736 bytes"


def make_one_large_value_for_many_rows(folder):
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array([bytes(8 * MB)]))
    write_parquet(folder / "a.parquet", images, compression="zstd", dictionary_pagesize_limit=99 * MB)
    return {"source": "parquet"}, "300 damaged items: train/000000 (not an image of a known format)"


def make_many_values_in_a_page(folder):
    n_rows = 2_000_000
    table = pa.table({"image": pa.nulls(n_rows, pa.binary()), "label": np.zeros(n_rows, np.int64)})
    pq.write_table(table, folder / "a.parquet", row_group_size=n_rows, max_rows_per_page=n_rows)
    return {"source": "parquet", "limits": {"record_bytes": MB}}, "has 32,000,000 bytes"


def make_more_rows_than_ids_fit_into_memory(folder):
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    with pq.ParquetWriter(folder / "a.parquet", schema) as writer:
        for _ in range(6):
            nothing = [pa.nulls(1_000_000, pa.binary()), pa.nulls(1_000_000, pa.int64())]
            writer.write_table(pa.table(nothing, schema=schema))
    return {"source": "parquet"}, "a.parquet has 6,000,000 stimuli, the limit is 5,000,000"


def write_arrow(file, images, compression=None):
    batch = pa.record_batch({"image": images, "label": [0] * len(images)})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(file, batch.schema, options=options) as stream:
        stream.write_batch(batch)
    (file.parent / "state.json").write_text(json.dumps({"_data_files": [{"filename": file.name}]}))


def make_buffer_of_zeros(folder):
    write_arrow(folder / "a.arrow", pa.array([bytes(64 * MB)]), "zstd")
    return {"source": "hugging_face", "limits": {"record_bytes": MB}}, "a batch of rows of a.arrow has 67,1"


def make_buffer_that_claims_an_exabyte(folder):
    file = folder / "a.arrow"
    write_arrow(file, pa.array([bytes(MB)]), "zstd")
    content = file.read_bytes()
    frame = b"\x28\xb5\x2f\xfd"  # how zstd begins
    announced = struct.pack("<q", MB) + frame
    assert content.count(announced) == 1
    file.write_bytes(content.replace(announced, struct.pack("<q", 10**18) + frame))
    return {"source": "hugging_face"}, "a batch of rows of a.arrow has 1,000,000,0"


def make_large_idx(folder):
    header = b"\0\0\x08\x03" + struct.pack(">III", 1, 32768, 32768)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(MB)))
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 1) + b"\0")
    return {"source": "idx"}, "train-images-idx3-ubyte.gz has 32,768 x 32,768 pixels, the limit is 67,108,864"


def npy_header(shape, **changes):
    header = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": shape, **changes}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def write_npz(file, images, compression=zipfile.ZIP_DEFLATED):
    """Write an archive of images, given as parts of a file, and one label."""
    labels = io.BytesIO()
    np.save(labels, np.zeros(1, np.int64))
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("y.npy", labels.getvalue())
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            for part in images:
                stream.write(part)


def make_large_npz(folder):
    write_npz(folder / "a.npz", [npy_header((1, 9000, 9000)), *[bytes(9000 * 90)] * 100])
    return {
        "source": "npz",
        "path": folder / "a.npz",
    }, "an image of a.npz has 9,000 x 9,000 pixels, the limit is"


def make_npz_with_a_large_header(folder):
    start = b"\x93NUMPY\x02\0" + struct.pack("<I", GIANT)
    write_npz(folder / "a.npz", [start, *[b" " * MB] * 300])
    return {
        "source": "npz",
        "path": folder / "a.npz",
    }, "array 'x' of a.npz cannot be read: its header is damaged"


def make_npz_that_unpacks_with_much_memory(folder):
    write_npz(folder / "a.npz", [npy_header((1, 8, 8)), bytes(64)], zipfile.ZIP_LZMA)
    return {
        "source": "npz",
        "path": folder / "a.npz",
    }, "is compressed by method 14, expected stored or deflated"


def tar_header(name, size, kind):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def write_sparse(file, start, n_bytes):
    """Write a file that takes no room on the disk behind its start."""
    with file.open("wb") as stream:
        stream.write(start)
        stream.truncate(n_bytes)


def make_tar_header(kind):
    def make(folder):
        write_sparse(folder / "0.tar", tar_header("a", GIANT, kind), GIANT + 10 * MB)
        return {"source": "webdataset"}, "truncated or damaged archive: a header of 1,610,612,736 bytes"

    make.__name__ = f"make_tar_header_{kind.decode()}"
    return make


def make_packed_tar_header(folder):
    packer = zlib.compressobj(9, wbits=31)
    content = packer.compress(tar_header("a", GIANT, tarfile.GNUTYPE_LONGNAME))
    content += b"".join(packer.compress(b"a" * MB) for _ in range(64)) + packer.flush()
    (folder / "0.tar.gz").write_bytes(content)
    return {"source": "webdataset"}, "truncated or damaged archive: a header of 1,610,612,736 bytes"


def make_tar_member(folder):
    write_sparse(folder / "0.tar", tar_header("a.png", GIANT, tarfile.REGTYPE), GIANT + 10 * MB)
    return {
        "source": "webdataset"
    }, "train/0.tar:a.png (the member has 1,610,612,736 bytes, the limit is 268,435"


def make_tar_sample_of_many_members(folder):
    with tarfile.open(folder / "0.tar", "w") as archive:
        for number in range(40):
            member = tarfile.TarInfo(f"a.{number}.bin")
            member.size = MB
            archive.addfile(member, io.BytesIO(bytes(MB)))
    entry = {"source": "webdataset", "limits": {"record_bytes": 4 * MB}}
    return entry, "train/0.tar:a.4.bin (its sample has 5,242,880 bytes, the limit is 4,194,304"


def make_xz_that_unpacks_with_much_memory(folder):
    small, large = b"\x21\x01\x10", b"\x21\x01\x25"  # one byte of the block's header: 1 MB and 1.5 GB
    content = bytearray(lzma.compress(bytes(MB), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": MB}]))
    end = 12 + (content[12] + 1) * 4
    header = bytes(content[12 : end - 4]).replace(small, large)
    content[12:end] = header + struct.pack("<I", zlib.crc32(header))
    (folder / "0.tar.xz").write_bytes(bytes(content))
    path = folder / "0.tar.xz"
    return {"source": "webdataset", "path": path}, "damaged archive: Memory usage limit exceeded"


def make_sparse_image(folder):
    write_sparse(folder / "a.png", IMAGE, 3 << 30)
    return {"source": "image_folder"}, "a.png (the file has 3,221,225,472 bytes, the limit is 268,435,456"


TAR_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
BOMBS = [
    make_page_of_zeros,
    make_page_that_claims_gigabytes,
    make_one_large_value_for_many_rows,
    make_many_values_in_a_page,
    make_more_rows_than_ids_fit_into_memory,
    make_buffer_of_zeros,
    make_buffer_that_claims_an_exabyte,
    make_large_idx,
    make_large_npz,
    make_npz_with_a_large_header,
    make_npz_that_unpacks_with_much_memory,
    *map(make_tar_header, TAR_HEADERS),
    make_packed_tar_header,
    make_tar_member,
    make_tar_sample_of_many_members,
    make_xz_that_unpacks_with_much_memory,
    make_sparse_image,
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return what came of each bomb, and what is expected; all are read in one process with a cap."""
    entries, expected = [], []
    for make in BOMBS:
        folder = tmp_path_factory.mktemp(make.__name__)
        entry, message = make(folder)
        entries.append({"path": str(entry.pop("path", folder)), **entry})
        expected.append(message)
    command = [sys.executable, "-m", "tests.stimuli.limits_child", json.dumps(entries)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    found = zip(json.loads(done.stdout), expected, strict=True)
    return dict(zip([make.__name__ for make in BOMBS], found, strict=True))


@pytest.mark.parametrize("bomb", [make.__name__ for make in BOMBS])
def test_what_would_fill_memory_is_refused_with_what_to_do(bomb, outcomes):
    found, message = outcomes[bomb]
    assert message in found["error"]
    assert found["peak_bytes"] < PEAK_BYTES


def test_a_raised_limit_lets_large_things_in(make_set, tmp_path):
    entry, _ = make_large_idx(tmp_path)
    pixels = gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 1, 40, 40) + bytes(1600))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(pixels)
    with pytest.raises(
        DamagedSourceError, match=r"40 x 40 pixels, the limit is 1,599; if meant, raise limits.im"
    ):
        make_set(**entry, path=tmp_path, limits={"image_pixels": 1599})
    table, meta = make_set(**entry, path=tmp_path, limits={"image_pixels": 1600})
    assert table.num_rows == 1
    assert meta["source"]["limits"]["image_pixels"] == 1600


def test_images_that_were_let_in_are_shown_under_the_same_limit(make_set, tmp_path):
    from rep_kedro.stimuli.decoding import decode_images
    from rep_kedro.stimuli.limits import limits_of

    (tmp_path / "a.png").write_bytes(encode_png(np.zeros((9000, 9000), np.uint8)))
    table, meta = make_set(source="image_folder", path=tmp_path, limits={"image_pixels": 9000 * 9000})
    pixels = decode_images(table["image"], size_px=4, limits=limits_of(meta))
    assert pixels.shape == (1, 3, 4, 4)
    assert limits_of({}).image_pixels == 64 << 20


def test_an_animation_of_many_frames_takes_the_memory_of_one(make_set, tmp_path):
    frames = [Image.fromarray(np.full((8, 8), value % 256, np.uint8)) for value in range(2000)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    _, meta = make_set(source="image_folder", path=tmp_path)
    assert (meta["n_stimuli"], meta["several_frames"]) == (1, 1)


def test_an_array_that_would_fill_the_disk_is_refused(make_set, tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(np.zeros((3, 8, 9), np.uint8)), y=np.arange(3))
    usage = type("Usage", (), {"free": 100})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        DamagedSourceError, match=r"in Fortran's order and takes 344 bytes in .*, which has 100"
    ):
        make_set(source="npz", path=tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(3, 0, 8), (-1, -8, 8), (1, -8, -8), ()])
def test_arrays_of_impossible_shape_are_refused(shape, make_set, tmp_path):
    write_npz(tmp_path / "a.npz", [npy_header(shape), bytes(max(0, int(np.prod(shape))))])
    problem = r"has \d+ bytes for uint8" if shape else "is a single number, expected one entry for each image"
    with pytest.raises(DamagedSourceError, match=f"array 'x' of a.npz {problem}"):
        make_set(source="npz", path=tmp_path / "a.npz")


def test_an_idx_file_of_empty_images_is_refused(make_set, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">III", 2, 0, 8))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\0\1")
    with pytest.raises(DamagedSourceError, match="train-images-idx3-ubyte has an impossible header"):
        make_set(source="idx", path=tmp_path)


# ---------------------------------------------------------------- labels that are ids


def write_labels(file, labels, kind):
    pq.write_table(pa.table({"image": [IMAGE] * len(labels), "label": pa.array(labels, kind)}), file)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([1_000_000, 2_000_000], pa.int64()),
        ([1_000_000, 2_000_000], pa.int32()),
        ([0, 2**32 - 1], pa.uint32()),
        ([0, 2**62], pa.int64()),
        ([0, 2**64 - 1], pa.uint64()),
        ([0, 1 << 16], pa.int64()),
    ],
)
def test_labels_that_are_ids_are_refused_as_such(labels, kind, make_set, tmp_path):
    write_labels(tmp_path / "a.parquet", labels, kind)
    large = next(label for label in labels if label)
    with pytest.raises(
        DamagedSourceError,
        match=rf"label {large}: labels look like ids, not classes; name another label column",
    ):
        make_set(source="parquet", path=tmp_path)


def test_ids_in_arrays_and_shards_are_refused_too(make_set, tmp_path, write_tar):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 8, 8), np.uint8), y=np.array([1_000_000, 2**63], np.uint64))
    write_tar(tmp_path / "0.tar", [("a.png", IMAGE), ("a.cls", b"2000000")])
    for entry in ({"source": "npz", "path": tmp_path / "a.npz"}, {"source": "webdataset", "path": tmp_path}):
        with pytest.raises(DamagedSourceError, match="labels look like ids"):
            make_set(**entry)


def test_more_different_texts_than_there_may_be_classes_are_refused(make_set, tmp_path):
    texts = pa.array([f"photo {number}" for number in range((1 << 16) + 1)])
    pq.write_table(
        pa.table({"image": pa.nulls(len(texts), pa.binary()), "label": texts}), tmp_path / "a.parquet"
    )
    with pytest.raises(
        DamagedSourceError, match=r"'label' of a.parquet: more than 65,536 different labels look"
    ):
        make_set(source="parquet", path=tmp_path)


def test_a_label_map_makes_classes_of_ids(make_set, tmp_path):
    write_labels(tmp_path / "a.parquet", [1_000_000, 2_000_000, 3_000_000], pa.int64())
    classes = {"cat": [1_000_000], "dog": [2_000_000]}
    table, meta = make_set(source="parquet", path=tmp_path, label_map={"classes": classes})
    assert table["label"].to_pylist() == [0, 1]
    assert (meta["class_names"], meta["left_out"]) == (["cat", "dog"], {"train": 1})


def test_class_numbers_below_the_limit_keep_their_meaning(make_set, tmp_path):
    write_labels(tmp_path / "a.parquet", [0, 999], pa.int64())
    table, meta = make_set(source="parquet", path=tmp_path)
    assert table["label"].to_pylist() == [0, 999]
    assert len(meta["class_names"]) == 1000


def test_rows_count_in_the_size_of_an_image():
    limits = Limits(image_pixels=64)
    limits.require_pixels(8, 8, "the image")
    limits.require_pixels(1, 8, "the image")
    limits.require_pixels(64, 1, "the image")
    with pytest.raises(TooLargeError, match=r"1 x 9 pixels \(a row counts as 8 at least\), the limit is 64"):
        limits.require_pixels(1, 9, "the image")
    with pytest.raises(TooLargeError, match=r"13 x 5 pixels, the limit is 64"):
        limits.require_pixels(13, 5, "the image")

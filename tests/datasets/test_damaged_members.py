"""What is not a whole member of this project is refused in one line, and rebuilt only on request."""

import json
import shutil
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save as save_foreign

from rep_kedro.datasets import CollectionDataset, CollectionError, DamagedMemberError, Planned, Tensors


class Collections:
    """One collection of two members in either format."""

    def __init__(self, folder, member, suffix, value):
        self.collection_with = lambda **options: CollectionDataset(
            filepath=str(folder / "c"), member=member, **options
        )
        self.folder, self.suffix = folder / "c", suffix
        self.calls = []
        self.plan = {key: Planned({"k": key}, lambda key=key: self._make(key, value)) for key in ("a", "b")}
        self.collection_with().save(self.plan)
        self.calls.clear()
        self.path = self.folder / f"a{suffix}"

    def _make(self, key, value):
        self.calls.append(key)
        return value


def make_tensors(folder):
    value = Tensors({"x": np.arange(12.0), "y": np.ones((2, 3), np.float32)}, {"m": 1})
    return Collections(folder, "rep_kedro.datasets.TensorsDataset", ".safetensors", value)


def make_tables(folder):
    return Collections(folder, "rep_kedro.datasets.ArrowDataset", ".parquet", pa.table({"x": range(50)}))


def require_refused_and_rebuilt(made, message):
    """Check that the member is refused by load and save, leaves others alone, and is rebuilt on request."""
    with pytest.raises(CollectionError, match=f"1 of 2 members are not as planned .*{message}") as refused:
        made.collection_with().load()
    assert "\n" not in str(refused.value)
    with pytest.raises(CollectionError) as refused:
        made.collection_with().save(made.plan)
    head, line = str(refused.value).split("\n")
    assert head == "c: 1 of 2 members failed (the others are done and kept):"
    assert line.endswith("; rebuild it with kedro run --params recompute=c/a")
    assert made.calls == []
    assert not made.collection_with().exists()
    made.collection_with(recompute="c/a").save(made.plan)
    assert made.calls == ["a"]
    assert made.collection_with().exists()


CUTS = ["0", "1", "7", "8", "9", "half of header", "end of header", "one byte of data", "last byte"]


@pytest.mark.parametrize("cut", CUTS)
def test_a_truncated_safetensors_file_is_refused(tmp_path, cut):
    made = make_tensors(tmp_path)
    whole = made.path.read_bytes()
    header = struct.unpack("<Q", whole[:8])[0]
    named = {
        "half of header": 8 + header // 2,
        "end of header": 8 + header,
        "one byte of data": 9 + header,
        "last byte": len(whole) - 1,
    }
    made.path.write_bytes(whole[: named[cut] if cut in named else int(cut)])
    require_refused_and_rebuilt(made, r"a\.safetensors is truncated")


def test_a_safetensors_file_with_more_than_it_tells_is_refused(tmp_path):
    made = make_tensors(tmp_path)
    made.path.write_bytes(made.path.read_bytes() + b"x")
    require_refused_and_rebuilt(
        made, r"a\.safetensors is truncated or overlong: \d+ bytes where its header says"
    )


def test_every_cut_and_many_changes_are_refused_or_harmless(tmp_path):
    for made in (make_tensors(tmp_path / "s"), make_tables(tmp_path / "p")):
        whole = made.path.read_bytes()
        for length in range(0, len(whole), 7):
            made.path.write_bytes(whole[:length])
            with pytest.raises(CollectionError, match="1 of 2 members are not as planned"):
                made.collection_with().load()
        rng = np.random.default_rng(0)
        for _ in range(300):
            changed = bytearray(whole)
            changed[rng.integers(len(whole))] = rng.integers(256)
            made.path.write_bytes(changed)
            try:
                handle = made.collection_with().load()["a"]
                _ = handle.table() if made.suffix == ".parquet" else [handle.tensor(n) for n in handle.names]
            except (CollectionError, DamagedMemberError) as problem:
                assert "\n" not in str(problem)  # noqa: PT017


@pytest.mark.parametrize("cut", [0, 3, 4, 5, "half", -9, -8, -4, -1])
def test_a_truncated_parquet_file_is_refused(tmp_path, cut):
    made = make_tables(tmp_path)
    whole = made.path.read_bytes()
    made.path.write_bytes(whole[: len(whole) // 2 if cut == "half" else cut])
    require_refused_and_rebuilt(made, r"a\.parquet is truncated or not a Parquet file \(\d+ bytes\)")


@pytest.mark.parametrize("make", [make_tensors, make_tables])
@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x00" * 4000, b"hello" * 100, b"PK\x03\x04" * 99, b"PAR1PAR1", b"\xff" * 64]
)
def test_foreign_bytes_are_refused(tmp_path, make, content):
    made = make(tmp_path)
    made.path.write_bytes(content)
    require_refused_and_rebuilt(made, "is truncated|is not a safetensors file")


def with_header(text):
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def layout(**entries):
    return with_header(json.dumps({"__metadata__": {"rep_kedro": "{}"}, **entries}))


@pytest.mark.parametrize(
    "content",
    [
        with_header("{"),
        with_header("[]"),
        with_header("3"),
        with_header(b"\xff\xfe"),
        with_header("[" * 100_000),
        with_header('{"__metadata__": 3}'),
        with_header('{"__metadata__": [1]}'),
        layout(x=3),
        layout(x={"dtype": "F32", "shape": [1]}),
        layout(x={"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}) + b"1234",
        layout(x={"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}) + b"1234",
        layout(x={"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}) + b"1234",
        layout(x={"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}) + b"1234",
        layout(x={"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}) + b"1234",
        layout(x={"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}) + b"12345678",
        layout(x={"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}),
    ],
)
def test_a_safetensors_file_whose_header_lies_is_refused(tmp_path, content):
    made = make_tensors(tmp_path)
    made.path.write_bytes(content)
    require_refused_and_rebuilt(made, "is not a safetensors file: its header is unreadable")


GARBAGE_HEADERS = [
    None, "", "{", "null", "[]", "{}", "3", '"text"', "[" * 100_000,
    '{"format": "x", "key": "a", "recipe": {}}',
]  # fmt: skip


@pytest.mark.parametrize("header", GARBAGE_HEADERS)
@pytest.mark.parametrize("make", [make_tensors, make_tables])
def test_a_sound_file_without_our_header_is_refused(tmp_path, make, header):
    made = make(tmp_path)
    write_with_header(made, header)
    require_refused_and_rebuilt(made, "is not a member written by this project")


def write_with_header(made, header):
    """Write a sound file of the format, whose header is the given text."""
    metadata = {} if header is None else {"rep_kedro": header}
    if made.suffix == ".parquet":
        pq.write_table(pa.table({"x": [1]}).replace_schema_metadata(metadata), made.path)
    else:
        made.path.write_bytes(save_foreign({"x": np.ones(3)}, metadata=metadata or None))


@pytest.mark.parametrize("make", [make_tensors, make_tables])
def test_another_format_version_is_refused(tmp_path, make):
    made = make(tmp_path)
    write_with_header(made, json.dumps({"format": "tensors/3", "key": "a", "recipe": {}, "meta": {}}))
    require_refused_and_rebuilt(made, "has format 'tensors/3', expected '(tensors|arrow)/2'")


@pytest.mark.parametrize("broken", [{"key": 3}, {"recipe": []}, {"meta": 1}, {"recipe": None}])
def test_a_header_of_other_types_is_refused(tmp_path, broken):
    made = make_tensors(tmp_path)
    write_with_header(
        made, json.dumps({"format": "tensors/1", "key": "a", "recipe": {}, "meta": {}} | broken)
    )
    require_refused_and_rebuilt(made, "has a header that was not written by this project")


@pytest.mark.parametrize("make", [make_tensors, make_tables])
def test_a_renamed_member_is_refused(tmp_path, make):
    made = make(tmp_path)
    shutil.copy(made.folder / f"b{made.suffix}", made.path)
    require_refused_and_rebuilt(made, "was renamed: by its header it is 'b'")


@pytest.mark.parametrize("make", [make_tensors, make_tables])
def test_a_folder_in_place_of_a_member_is_refused_and_never_removed(tmp_path, make):
    made = make(tmp_path)
    made.path.unlink()
    made.path.mkdir()
    (made.path / "precious").write_text("x")
    message = rf"a{made.suffix} is a folder where a file is expected; remove it"
    with pytest.raises(CollectionError, match=message):
        made.collection_with().load()
    for options in ({}, {"recompute": "c/a"}):
        with pytest.raises(CollectionError, match="1 of 2 members failed") as refused:
            made.collection_with(**options).save(made.plan)
        assert len(str(refused.value).splitlines()) == 2
    assert (made.path / "precious").exists()
    assert list(made.folder.rglob("*.partial")) == []


def test_a_changed_byte_in_a_parquet_page_is_found_when_it_is_read(tmp_path):
    made = make_tables(tmp_path)
    whole = bytearray(made.path.read_bytes())
    handle = made.collection_with().load()["a"]
    offset = pq.ParquetFile(made.path).metadata.row_group(0).column(0).dictionary_page_offset
    whole[offset + 40] ^= 0xFF
    made.path.write_bytes(whole)
    with pytest.raises(DamagedMemberError, match=r"a\.parquet is damaged: .*; rebuild it with kedro run"):
        handle.table()
    handle.is_sealed = False  # as of the first version of the format, whose pages have checksums
    with pytest.raises(DamagedMemberError, match=r"a\.parquet is damaged: .*(CRC|checksum).*recompute=c/a$"):
        handle.table()


def test_the_command_to_rebuild_also_fits_keys_with_a_plus(tmp_path):
    plan = {"a+b": Planned({}, lambda: Tensors({"x": np.ones(1)}))}

    def collection(recompute=None):
        return CollectionDataset(
            filepath=str(tmp_path / "c"), member="rep_kedro.datasets.TensorsDataset", recompute=recompute
        )

    collection().save(plan)
    (tmp_path / "c" / "a+b.safetensors").write_bytes(b"")
    with pytest.raises(CollectionError, match=r"recompute=c/a\?b"):
        collection().save(plan)
    collection("c/a?b").save(plan)
    assert collection().exists()

"""Every flipped bit of every format is found on request, and those of a member before its content is used."""

import json

import numpy as np
import pyarrow as pa
import pytest
from kedro.io import DataCatalog
from tests.datasets.flip_bits import FORMATS, missed_flips, write_artifact
from tests.small_collections import ARROW, store

from rep_kedro.commands.verify import _mixed, examine
from rep_kedro.datasets import CollectionDataset, DamagedMemberError, Tensors, TensorsDataset
from rep_kedro.datasets.seal import BLANK_SEAL, MARK

VALUE = Tensors({"x": np.arange(40, dtype=np.float32), "y": np.ones((2, 3))}, {"note": "counted", "n": 12})


@pytest.fixture
def handle(tmp_path):
    return store(tmp_path, {"a": VALUE})["a"]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_flipped_bit_is_found(tmp_path, kind):
    assert missed_flips(tmp_path, kind, flips=50)[0] == []


@pytest.mark.parametrize("kind", FORMATS)
def test_every_flipped_bit_of_the_seal_and_of_the_last_bytes_is_found(tmp_path, kind):
    catalog, entry, path = write_artifact(tmp_path, kind)
    whole = path.read_bytes()
    start = whole.index(MARK.encode())
    for byte in [*range(start, start + len(BLANK_SEAL), 3), *range(len(whole) - 12, len(whole))]:
        flipped = bytearray(whole)
        flipped[byte] ^= 1 << byte % 8
        path.write_bytes(flipped)
        assert examine(catalog, "artifact", entry)[1], f"byte {byte} of {len(whole)}"


def test_a_member_as_it_was_written_passes(handle):
    handle.verify()


def flip(path, byte):
    content = bytearray(path.read_bytes())
    content[byte] ^= 64
    path.write_bytes(content)


def test_a_flipped_bit_of_a_tensor_is_found_before_it_is_used(handle):
    flip(handle.path, -1)
    made = r"recompute=\w+/a$"
    for read in (lambda: handle.tensor("x"), lambda: handle.rows("x", slice(1))):
        with pytest.raises(DamagedMemberError, match="is damaged: its content is not what was.*" + made):
            read()


@pytest.mark.parametrize(
    "read",
    [
        lambda handle: handle.table(),
        lambda handle: handle.frame(["x"]),
        lambda handle: next(handle.batches()),
        lambda handle: next(handle.picked([1])),
    ],
    ids=["table", "frame", "batches", "picked"],
)
def test_a_flipped_bit_of_the_header_of_a_table_is_found_before_it_is_used(tmp_path, read):
    table = pa.table({"x": [1, 2, 3]}).replace_schema_metadata({b"meta": b'{"class": "cat"}'})
    handle = store(tmp_path / "c", {"a": table}, ARROW)["a"]
    content = handle.path.read_bytes()
    handle.path.write_bytes(content.replace(b"cat", b"cau"))
    flipped = CollectionDataset(filepath=str(tmp_path / "c"), member=ARROW).load()["a"]
    assert flipped.meta["class"] == "cau"
    with pytest.raises(DamagedMemberError, match=r"is not what was written; rebuild .* recompute=c/a$"):
        read(flipped)


def test_a_file_is_compared_with_its_seal_once_per_process(handle, monkeypatch):
    handle.tensor("x")
    monkeypatch.setattr(type(handle), "verify", lambda self: pytest.fail("read again"))
    assert TensorsDataset.open_checked(handle.path).tensor("y").shape == (2, 3)


@pytest.mark.parametrize("is_planned", [True, False])
def test_members_of_a_collection_with_a_damaged_plan_are_checked(tmp_path, is_planned):
    entry = {"filepath": str(tmp_path), "member": "rep_kedro.datasets.TensorsDataset"}
    handles = store(tmp_path, dict.fromkeys("abc", VALUE))
    flip(handles["a"].path, -1)
    handles["c"].path.write_bytes(handles["c"].path.read_bytes()[:-1])
    if not is_planned:
        flip(tmp_path / "plan.json", 40)
    plan, *members = examine(DataCatalog({"made": CollectionDataset(**entry)}), "made", entry)[1]
    assert ("c: " if is_planned else "plan.json") in plan
    assert any(why.startswith("a: ") and "is not what was written" in why for why in members)
    assert any("c.safetensors is truncated" in why for why in (plan, *members))
    assert all("; rebuild it with kedro run --params recompute=" in why for why in members)
    assert not any(why.startswith("b: ") for why in members)


def test_of_a_large_file_a_header_is_read_alone(tmp_path):
    handle = store(tmp_path, {"a": Tensors({"x": np.zeros(1 << 18, np.float32)}, {"n": 12})})["a"]
    flip(handle.path, -1)
    assert handle.meta == {"n": 12}
    with pytest.raises(DamagedMemberError, match="is damaged"):
        handle.tensor("x")


def test_tensors_that_changed_places_are_found(handle):
    content = handle.path.read_bytes()
    handle.path.write_bytes(content.replace(b'"y":{', b'"z":{', 1))
    with pytest.raises(DamagedMemberError, match="is not what was written"):
        handle.verify()


@pytest.mark.parametrize("kind", FORMATS)
def test_text_that_looks_like_a_seal_changes_nothing(tmp_path, kind, monkeypatch):
    """Labels, recipes and images may hold whatever text they like, even a seal."""
    from tests.datasets import flip_bits

    monkeypatch.setitem(flip_bits.RECIPE, "of", BLANK_SEAL)
    figure = flip_bits.draw_figure()
    figure.suptitle(BLANK_SEAL)
    monkeypatch.setitem(flip_bits.MEMBERS, "drawing", ("DrawingDataset", ".svg", lambda: figure))
    monkeypatch.setitem(flip_bits.FILES, "page", (flip_bits.TextDataset, lambda: f"<p>{BLANK_SEAL}\n"))
    assert missed_flips(tmp_path, kind, flips=5, seed=1)[0] == []


def test_members_of_several_platforms_are_counted(tmp_path):
    records = [{"platform": {"machine": "x86_64", "cpu_capability": c}} for c in ("AVX2", "AVX512", "AVX2")]
    values = {key: Tensors({"x": np.ones(1)}, record) for key, record in zip("abc", records, strict=True)}
    handles = store(tmp_path, values)
    assert _mixed(handles) == " (of different platforms: 2 from x86_64 AVX2; 1 from x86_64 AVX512)"
    assert _mixed({key: handles[key] for key in "ac"}) == ""
    assert _mixed(store(tmp_path / "others", {"a": VALUE, "b": VALUE})) == ""


def test_members_of_the_first_version_are_read_and_counted(tmp_path):
    entry = {"filepath": str(tmp_path), "member": "rep_kedro.datasets.TensorsDataset"}
    made = store(tmp_path, {"a": VALUE, "b": VALUE})["a"].path
    content = made.read_bytes()
    length = int.from_bytes(content[:8], "little")
    layout = json.loads(content[8 : 8 + length])
    header = json.loads(layout["__metadata__"]["rep_kedro"]) | {"format": "tensors/1"}
    del header["digest"]
    layout["__metadata__"]["rep_kedro"] = json.dumps(header)
    text = json.dumps(layout).encode()
    made.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])

    handles, problems = examine(DataCatalog({"made": CollectionDataset(**entry)}), "made", entry)
    assert problems == []
    assert [handle.is_sealed for handle in handles.values()] == [False, True]
    assert dict(handles["a"].recipe) == {"of": "a"}

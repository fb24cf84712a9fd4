"""One flipped bit in a member of tensors is found on request; without a request nothing is read for it."""

import numpy as np
import pytest
from tests.small_collections import store

from rep_kedro.datasets import DamagedMemberError, Tensors, TensorsDataset

VALUE = Tensors({"x": np.arange(40, dtype=np.float32), "y": np.ones((2, 3))}, {"note": "counted", "n": 12})


@pytest.fixture
def handle(tmp_path):
    return store(tmp_path, {"a": VALUE})["a"]


def _flip(handle, position):
    content = bytearray(handle.path.read_bytes())
    content[position] ^= 1
    handle.path.write_bytes(content)


def test_a_member_as_it_was_written_passes(handle):
    handle.verify()


@pytest.mark.parametrize("place", [-1, -8, -100, -200])
def test_a_flipped_bit_in_the_tensors_is_found(handle, place):
    _flip(handle, place)
    assert TensorsDataset.open_checked(handle.path).tensor("x").shape == (40,)  # a reader does not see it
    with pytest.raises(DamagedMemberError, match=r"a.safetensors is damaged: its content is not what was"):
        handle.verify()


@pytest.mark.parametrize("text", [b"counted", b"12", b'\\"of\\":\\"a'])
def test_a_flipped_bit_in_what_is_told_about_the_tensors_is_found(handle, text):
    _flip(handle, handle.path.read_bytes().rindex(text) + len(text) - 1)
    with pytest.raises(DamagedMemberError, match="is not what was written"):
        handle.verify()


def test_tensors_that_changed_places_are_found(handle):
    content = handle.path.read_bytes()
    handle.path.write_bytes(content.replace(b'"y":{', b'"z":{', 1))
    with pytest.raises(DamagedMemberError, match="is not what was written"):
        handle.verify()


def test_members_without_a_digest_pass(handle):
    content = handle.path.read_bytes()
    start = content.index(b',\\"sha256\\"')
    cut = content[start : start + len(b',\\"sha256\\":\\"\\"') + 64]
    text = content[8 : 8 + int.from_bytes(content[:8], "little")].replace(cut, b"")
    handle.path.write_bytes(
        len(text).to_bytes(8, "little") + text + content[8 + int.from_bytes(content[:8], "little") :]
    )
    old = TensorsDataset.open_checked(handle.path)
    old.verify()
    assert dict(old.recipe) == {"of": "a"}

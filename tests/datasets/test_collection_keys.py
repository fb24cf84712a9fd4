"""Keys are names: each has its own file inside the collection's folder, on every file system."""

import os
import time
from pathlib import Path

import pytest
from kedro.io import DatasetError

from rep_kedro.datasets import MemberKey
from rep_kedro.datasets.atomic import PARTIAL_SUFFIX, sweep_partials, write_bytes_atomically
from rep_kedro.errors import UserError


@pytest.mark.parametrize(
    "key",
    [
        "", ".", "..", "../a", "a/..", "a/../b", "a/./b", "/a", "/etc/passwd", "a//b", "a/", "a\\b", "..\\a",
        "C:/a", "a\n", "\na", "a b", "a\x00b", "~", "~root/x", "-rf", ".hidden", "a/.hidden", "ä", "a*", "a?",
        "a[b]", "$HOME", "a:b", "a;b", "a|b", "a..b", "\u202ea", "ａ", 3, None, ("a",), b"a",
    ],
)  # fmt: skip
def test_a_hostile_key_is_refused_before_anything_is_written(counted, key):
    with pytest.raises(
        DatasetError, match=r"things: key .* is not a name; use letters, digits and _ \. \+ = @ -"
    ):
        counted.save({"good": {}, key: {}})
    assert not counted.folder.exists()
    assert counted.calls == []


@pytest.mark.parametrize("key", ["a" * 201, "a/" + "b" * 201 + "/c", "a/" * 500 + "b"])
def test_a_key_too_long_for_file_systems_is_refused(counted, key):
    with pytest.raises(
        DatasetError, match=rf"key '.*\.\.\.' is too long with {len(key)} characters; at most 200"
    ):
        counted.save({key: {}})


@pytest.mark.parametrize(
    "key", ["a" * 200, "/".join(["b" * 80] * 10), "a.b-c_d+e=f@g/1", "_x", "0", "plan.json", "a.safetensors"]
)
def test_unusual_names_work(counted, key):
    counted.save({key: {"n": 1}})
    assert list(counted.collection().load()) == [key]
    assert counted.save({key: {"n": 1}}) == []


def test_keys_that_differ_in_case_only_are_refused(counted):
    with pytest.raises(DatasetError, match="keys 'x/Net' and 'x/net' differ in case only"):
        counted.save({"x/Net": {}, "x/net": {}})


def test_a_key_may_be_a_folder_of_another(counted):
    counted.save({"a": {"n": 1}, "a/b": {"n": 2}, "a/b/c": {"n": 3}})
    assert {key: handle.meta["made_for"] for key, handle in counted.collection().load().items()} == {
        "a": "a", "a/b": "a/b", "a/b/c": "a/b/c",
    }  # fmt: skip


def test_a_key_whose_folder_is_the_file_of_another_is_refused(counted):
    with pytest.raises(DatasetError, match=r"key 'A\.safetensors/b' needs a folder where 'a' has its file"):
        counted.save({"a": {}, "A.safetensors/b": {}})
    with pytest.raises(DatasetError, match=r"key 'plan\.json/b' needs a folder where plan\.json is"):
        counted.save({"plan.json/b": {}})


def test_a_folder_link_out_of_the_collection_is_refused_for_reading_and_writing(counted, tmp_path):
    counted.save({"x/a": {}, "y/a": {}})
    outside = tmp_path / "outside"
    (counted.folder / "x").rename(outside)
    (counted.folder / "x").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*")}
    message = r"things/x is a link that leads out of the collection, to .*outside; replace it by a folder"
    with pytest.raises(DatasetError, match=message):
        counted.collection().load()
    for options in ({}, {"recompute": "things"}):
        with pytest.raises(DatasetError, match=message):
            counted.save({"x/a": {"new": 1}, "x/b": {}, "y/a": {}}, **options)
    assert {path: path.read_bytes() for path in outside.rglob("*")} == before
    assert not counted.collection().exists()


def test_the_collection_itself_may_be_a_link_and_links_within_are_allowed(counted, tmp_path):
    (tmp_path / "scratch").mkdir()
    counted.folder.parent.mkdir()
    counted.folder.symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch" / "real").mkdir()
    (tmp_path / "scratch" / "x").symlink_to("real")
    assert counted.save({"x/a": {}}) == ["x/a"]
    assert (tmp_path / "scratch" / "real" / "a.safetensors").exists()
    assert counted.collection().exists()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_member_linked_to_a_cache_is_read_and_replaced_but_never_written_into(counted, tmp_path, link):
    counted.save({"a": {"n": 1}})
    cached = tmp_path / "cached"
    counted.path("a").rename(cached)
    cached.chmod(0o444)
    content = cached.read_bytes()
    link(cached, counted.path("a"))
    assert counted.save({"a": {"n": 1}}) == []
    assert counted.collection().exists()
    assert counted.save({"a": {"n": 2}}) == ["a"]
    assert cached.read_bytes() == content
    assert not counted.path("a").is_symlink()
    assert counted.path("a").stat().st_nlink == 1


def test_a_dangling_or_circular_link_is_like_a_missing_or_damaged_member(counted):
    counted.save({"a": {}, "b": {}})
    for key, target in (("a", "nowhere"), ("b", "b.safetensors")):
        counted.path(key).unlink()
        counted.path(key).symlink_to(target)
    with pytest.raises(
        DatasetError, match=r"a: missing; b: .*b\.safetensors cannot be read: Too many levels"
    ):
        counted.collection().load()
    assert counted.save({"a": {}, "b": {}}, recompute="things/b") == ["a", "b"]


def test_an_older_member_in_the_way_of_a_folder_is_reported(counted):
    counted.save({"a": {}})
    with pytest.raises(
        DatasetError, match=r"b: FileExistsError: .*File exists: .*a\.safetensors|Not a directory"
    ):
        counted.save({"a.safetensors/b": {}})
    assert counted.path("a").is_file()


def leave_partial(folder, owner):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".x.parquet.{owner}-0{PARTIAL_SUFFIX}"
    path.write_bytes(b"half")
    return path


def test_sweeping_removes_what_dead_processes_left_and_spares_the_living(tmp_path, monkeypatch):
    written = []
    write_bytes_atomically(tmp_path / "probe", b"x")
    from rep_kedro.datasets import atomic

    place = atomic._place()
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    written = {
        "dead": leave_partial(tmp_path / "a", f"{place}~{dead}"),
        "living": leave_partial(tmp_path / "a", f"{place}~{os.getpid()}"),
        "init": leave_partial(tmp_path / "a" / "b", f"{place}~1"),
        "elsewhere": leave_partial(tmp_path, f"othermachine~4026531836~{dead}"),
        "elsewhere, long ago": leave_partial(tmp_path / "b", f"othermachine~4026531836~{dead}"),
        "nameless": leave_partial(tmp_path / "c", "who"),
    }
    day_ago = time.time() - 25 * 3600
    os.utime(written["elsewhere, long ago"], (day_ago, day_ago))
    assert sweep_partials(tmp_path) == 2
    assert {name for name, path in written.items() if not path.exists()} == {"dead", "elsewhere, long ago"}
    assert list(tmp_path.glob(".*clock*")) == []


def test_a_clock_that_is_wrong_does_not_make_others_files_look_abandoned(tmp_path, monkeypatch):
    partial = leave_partial(tmp_path, "othermachine~1~1")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert sweep_partials(tmp_path) == 0
    assert partial.exists()


def test_partial_names_fit_the_longest_file_name(tmp_path):
    path = tmp_path / ("ü" * 120 + ".json")
    write_bytes_atomically(path, b"x")
    assert path.read_bytes() == b"x"
    assert [p.name for p in Path(tmp_path).iterdir()] == [path.name]


def test_the_key_of_a_stimulus_set_s_member_is_parsed_as_it_was_joined():
    key = MemberKey("digits", "a-to-b-to-c + d")
    assert MemberKey.parse(str(key)) == key
    stimulus_set, name = key
    assert (stimulus_set, name) == ("digits", "a-to-b-to-c + d")


@pytest.mark.parametrize("parts", [("a/b", "c"), ("a", "b/c"), ("", "c"), ("a", "")])
def test_parts_of_a_key_hold_no_slash(parts):
    with pytest.raises(UserError, match="must be a name without /"):
        MemberKey(*parts)


@pytest.mark.parametrize("key", ["digits", "digits/a/b", "digits/", "/a", ""])
def test_a_key_without_two_parts_is_refused(key):
    with pytest.raises(UserError, match=r"parts|must be a name"):
        MemberKey.parse(key)

"""The journal keeps whole lines whatever happens, and stands outside the collection."""

import json
import os

import numpy as np
import pyarrow as pa
import pytest

from rep_kedro.datasets import Batch, CollectionDataset, Planned, Tensors, read_journal, work
from rep_kedro.datasets.journal import append_failure, append_to_journal, journal_path, read_failures


def test_processes_that_append_at_once_keep_all_lines_whole(children, tmp_path):
    folder = tmp_path / "c"
    pids = [
        children.start("append_lines", tmp_path / "errors", folder=str(folder), name=str(i), n=200)
        for i in range(4)
    ]
    assert [children.wait(pid) for pid in pids] == [0] * 4
    lines = [json.loads(line) for line in journal_path(folder).read_text().splitlines()]
    assert sorted(line["key"] for line in lines) == sorted(f"{i}-{j}" for i in range(4) for j in range(200))
    assert len(read_journal(folder)) == 800


def add(folder, key, digest="d", seconds=1.0):
    append_to_journal(journal_path(folder), key=key, digest=digest, seconds=seconds, n_bytes=3)


def test_further_facts_are_read_back_where_they_are_sound(tmp_path):
    path = journal_path(tmp_path / "c")
    for key, peak in (("a", 5), ("b", -5)):
        facts = {"peak_memory_bytes": peak, "seconds": 9.0, "peak_memory_reason": 3}
        append_to_journal(path, key=key, digest="d", seconds=1.0, n_bytes=3, facts=facts)
    found = read_journal(tmp_path / "c")
    assert found["a", "d"]["peak_memory_bytes"] == 5
    assert "peak_memory_bytes" not in found["b", "d"]
    assert {line["seconds"] for line in found.values()} == {1.0}
    assert not any("peak_memory_reason" in line for line in found.values())


BROKEN = [
    b"{", b"", b"\n\n", b"[]", b"3", b"null", b'{"key": "a"}',
    b'{"key": [], "recipe_digest": "d"}', b"\xff\xfe\x00",
    b'{"key": "a", "recipe_dig', b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_lines_are_passed_over_and_closed(tmp_path, broken):
    folder = tmp_path / "c"
    add(folder, "before")
    with journal_path(folder).open("ab") as stream:
        stream.write(broken)
    add(folder, "after ü \u2028")
    assert {key for key, _ in read_journal(folder)} == {"before", "after ü \u2028"}


def test_the_newest_line_of_a_key_and_recipe_counts(tmp_path):
    add(tmp_path / "c", "a", seconds=1)
    add(tmp_path / "c", "a", digest="e", seconds=2)
    add(tmp_path / "c", "a", seconds=3)
    found = read_journal(tmp_path / "c")
    assert {pair: line["seconds"] for pair, line in found.items()} == {("a", "d"): 3, ("a", "e"): 2}
    assert found["a", "d"]["n_bytes"] == 3
    assert set(found["a", "d"]["versions"]) >= {"torch", "numpy", "kedro", "rep_kedro"}


def test_a_collection_without_a_readable_journal_still_loads(counted):
    counted.save({"a": {}})
    journal = journal_path(counted.folder)
    assert journal.parent == counted.folder.parent
    assert counted.collection().load()["a"].journal["key"] == "a"
    journal.unlink()
    assert counted.collection().load()["a"].journal == {}
    os.mkdir(journal)
    assert counted.collection().load()["a"].journal == {}
    assert counted.save({"a": {}, "b": {}}) == ["b"]


@pytest.mark.parametrize(
    "seconds", ['"abc"', "Infinity", "-Infinity", "NaN", "-1", "1e400", "true", "null", "[]", "{}", '""']
)
@pytest.mark.parametrize("field", ["seconds", "n_bytes"])
def test_times_and_sizes_that_are_none_are_ignored_and_the_rest_of_the_line_counts(tmp_path, field, seconds):
    text = f'{{"key": "a", "recipe_digest": "d", "computed_at": "2026-01-01", "{field}": {seconds}}}\n'
    journal_path(tmp_path / "c").write_text(text)
    found = read_journal(tmp_path / "c")["a", "d"]
    assert found == {"key": "a", "recipe_digest": "d", "computed_at": "2026-01-01"}


def test_time_spent_together_is_shared_and_what_is_left_counts_only_what_waits(tmp_path, caplog, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(work.time, "perf_counter", lambda: clock[0])

    def compute(keys):
        for start in range(0, len(keys), 2):
            clock[0] += 100.0
            for key in keys[start : start + 2]:
                clock[0] += 1.0
                yield key, pa.table({"key": [key]})

    batch = Batch(compute, n_together=2)
    collection = CollectionDataset(filepath=str(tmp_path / "c"), member="rep_kedro.datasets.ArrowDataset")
    with caplog.at_level("INFO"):
        collection.save({key: Planned({}, batch) for key in "abc"})
    seconds = {key: line["seconds"] for (key, _), line in read_journal(tmp_path / "c").items()}
    assert seconds == {"a": 50.5, "b": 51.5, "c": 101.0}
    lines = [line for line in caplog.messages if "/3]" in line]
    assert lines == [
        "c [1/3] a in 50.5 s; about 50.5 s left",
        "c [2/3] b in 51.5 s; about 51.0 s left",
        "c [3/3] c in 1 min 41 s",
    ]


def test_a_value_that_was_made_next_to_others_says_what_it_took(tmp_path, caplog):
    value = Tensors({"x": np.zeros(1)}, {}, {"seconds": 7.5, "peak_memory_bytes": 3})
    collection = CollectionDataset(filepath=str(tmp_path / "c"), member="rep_kedro.datasets.TensorsDataset")
    with caplog.at_level("INFO"):
        collection.save({"a": Planned({}, lambda: value)})
    ((_, line),) = read_journal(tmp_path / "c").items()
    assert (line["seconds"], line["peak_memory_bytes"]) == (7.5, 3)
    assert "c [1/1] a in 7.5 s" in caplog.messages


def test_a_failure_is_no_time_and_is_made_up_for(tmp_path):
    folder = tmp_path / "c"
    add(folder, "a")
    append_failure(journal_path(folder), key="a", digest="d", why="no labels")
    append_failure(journal_path(folder), key="b", digest="d", why="diverged")
    assert read_journal(folder).keys() == {("a", "d")}
    assert read_failures(folder) == {("a", "d"): "no labels", ("b", "d"): "diverged"}
    add(folder, "b")
    assert read_failures(folder) == {("a", "d"): "no labels"}

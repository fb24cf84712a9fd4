"""Tables and texts: one file each, replaced in one step, never written into."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from rep_kedro.datasets import Planned, TableDataset, TextDataset


def make_frame():
    return pd.DataFrame(
        {"model": ["a", "b", None], "x": [1.5, np.nan, -0.0], "n": [1, 2, 3], "is": [True, False, True]}
    )


CASES = [
    (TableDataset, make_frame),
    (TextDataset, lambda: "größe \U0001f600\r\n\n"),
]


@pytest.mark.parametrize(("kind", "make"), CASES)
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_saving_replaces_a_linked_file_and_leaves_its_other_name_alone(tmp_path, kind, make, link):
    path, cached = tmp_path / "deep" / "f", tmp_path / "cached"
    path.parent.mkdir()
    cached.write_bytes(b"from the cache")
    cached.chmod(0o444)
    link(cached, path)
    kind(filepath=str(path)).save(make())
    assert cached.read_bytes() == b"from the cache"
    assert path.read_bytes() != b"from the cache"
    assert sorted(p.name for p in path.parent.iterdir()) == ["f"]


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_saving_twice_gives_the_same_bytes(tmp_path, kind, make):
    contents = []
    for name in ("one", "two"):
        kind(filepath=str(tmp_path / name)).save(make())
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_a_file_that_is_not_there_is_reported(tmp_path, kind, make):
    dataset = kind(filepath=str(tmp_path / "cards.x"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"^cards has not been made yet: there is no .*/cards\.x$"):
        dataset.load()
    dataset.save(make())
    assert dataset.exists()


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_what_a_killed_process_left_of_the_file_is_swept(tmp_path, kind, make):
    from rep_kedro.datasets import atomic

    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    left = tmp_path / f".f.x.{atomic._place()}~{dead}-3.partial"
    other = tmp_path / f".g.x.{atomic._place()}~{dead}-3.partial"
    for path in (left, other):
        path.write_bytes(b"half")
    kind(filepath=str(tmp_path / "f.x")).save(make())
    assert not left.exists()
    assert other.exists()


def test_a_text_comes_back(tmp_path):
    dataset = TextDataset(filepath=str(tmp_path / "r.html"))
    dataset.save("größe \u2028\U0001f600\n")
    assert dataset.load() == "größe \u2028\U0001f600\n"
    written = (tmp_path / "r.html").read_text()
    assert re.fullmatch("größe \u2028\U0001f600\n<!-- sealed-by-sha256-[0-9a-f]{64} -->\n", written)


def test_a_table_comes_back_with_types_and_gaps(tmp_path):
    frame = make_frame().assign(
        when=pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
        kind=pd.Categorical(["u", None, "v"]),
        nullable=pd.array([1, None, 3], "Int64"),
        small=np.array([1, 2, 3], np.int8),
    )
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    dataset.save(frame.set_index(pd.Index([7, 8, 9])))
    pd.testing.assert_frame_equal(dataset.load(), frame)
    preview = dataset.preview(nrows=2)
    assert preview["columns"] == list(frame.columns)
    assert preview["data"][1] == ["b", None, 2, False, None, None, None, 2]


@pytest.mark.parametrize("frame", [pd.DataFrame({"a": pd.Series([], dtype="float64")}), pd.DataFrame()])
def test_an_empty_table_comes_back(tmp_path, frame):
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    dataset.save(frame)
    assert dataset.load().shape == frame.shape
    assert list(dataset.load().columns) == list(frame.columns)


def test_a_preview_holds_only_json(tmp_path):
    import json

    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    dataset.save(
        pd.DataFrame({"x": [np.inf, -np.inf, np.nan], "l": [[1.0], [], None], "b": [b"x", b"", None]})
    )
    text = json.dumps(dataset.preview(), allow_nan=False)
    assert json.loads(text)["data"][0][0] == "inf"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], "expected a DataFrame, received list"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column names must be unique text, received 'a'"),
        (pd.DataFrame([[1, 2]]), "column names must be unique text, received 0"),
    ],
)
def test_what_is_not_a_table_is_refused(tmp_path, given, message):
    with pytest.raises(DatasetError, match=f"cards: {message}"):
        TableDataset(filepath=str(tmp_path / "cards.parquet")).save(given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_damaged_table_is_reported_in_one_line(tmp_path, content):
    path = tmp_path / "cards.parquet"
    dataset = TableDataset(filepath=str(path))
    dataset.save(make_frame())
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    with pytest.raises(
        DatasetError, match=r"cards\.parquet is damaged: .*; run the pipeline that makes it again"
    ) as refused:
        dataset.load()
    assert "\n" not in str(refused.value)


def test_an_unchanged_table_needs_no_write_access(tmp_path, monkeypatch):
    planned = Planned({"of": "cards"}, make_frame)
    TableDataset(filepath=str(tmp_path / "cards.parquet")).save(planned)
    for change in ("unlink", "replace", "mkdir", "touch", "write_bytes"):
        monkeypatch.setattr(Path, change, lambda *_, **__: pytest.fail("the folder can only be read"))
    again = TableDataset(filepath=str(tmp_path / "cards.parquet"))
    again.save(planned)
    assert again.counts == (0, 1)

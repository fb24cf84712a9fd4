"""Results of an earlier revision are read through DVC without a checkout."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from rep_kedro.datasets import (
    CollectionDataset,
    EarlierTableDataset,
    Planned,
    TableDataset,
    Tensors,
    TextDataset,
)

pytestmark = pytest.mark.slow
TENSORS = "rep_kedro.datasets.TensorsDataset"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A git and DVC repository with two versions of a table and a collection, the first tagged."""
    root = tmp_path_factory.mktemp("repository")
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip

    def run(*command):
        subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)

    dvc = str(Path(sys.executable).with_name("dvc"))
    run("git", "init", "-q")
    run(dvc, "init", "-q")
    for version in (1, 2):
        table = pd.DataFrame({"model": ["a", "b"], "x": [float(version), 2.0]})
        TableDataset(filepath=str(root / "data" / "cards.parquet")).save(table)
        TextDataset(filepath=str(root / "data" / "report.html")).save(f"report {version}")
        CollectionDataset(filepath=str(root / "data" / "features"), member=TENSORS).save(
            {
                key: Planned({"version": version}, lambda: Tensors({"x": np.full(3, version)}))  # noqa: B023
                for key in ("s/a", "s/b")
            }
        )
        run(dvc, "add", "-q", "data/cards.parquet", "data/features", "data/report.html")
        run("git", "add", "-A", ":!data/features.journal.jsonl")
        run("git", "commit", "-q", "-m", f"version {version}")
        run("git", "tag", f"v{version}")
    return root


def arguments(repository, inside, revision):
    return {"filepath": f"dvc:///{inside}", "fs_args": {"url": str(repository), "rev": revision}}


def test_a_table_of_an_earlier_revision_is_read_without_a_checkout(repository):
    found = EarlierTableDataset(**arguments(repository, "data/cards.parquet", "v1")).load()
    assert found["x"].tolist() == [1, 2]
    assert found.attrs["revision"] == "v1"
    assert TableDataset(filepath=str(repository / "data" / "cards.parquet")).load()["x"].tolist() == [2, 2]
    assert TextDataset(**arguments(repository, "data/report.html", "v1")).load() == "report 1"


def test_a_collection_of_an_earlier_revision_is_read_without_a_checkout(repository):
    first = CollectionDataset(member=TENSORS, **arguments(repository, "data/features", "v1"))
    assert first.name == "features"
    assert first.exists()
    handles = first.load()
    assert {key: handle.tensor("x").tolist() for key, handle in handles.items()} == {
        "s/a": [1] * 3,
        "s/b": [1] * 3,
    }
    assert handles["s/a"].recipe == {"version": 1}
    now = CollectionDataset(filepath=str(repository / "data" / "features"), member=TENSORS).load()
    assert now["s/a"].tensor("x").tolist() == [2] * 3


@pytest.mark.parametrize(
    ("inside", "revision"),
    [("data/cards.parquet", "v9"), ("data/nothing.parquet", "v1"), ("data/features", "nope")],
)
def test_an_unknown_revision_or_file_is_reported_in_one_line(repository, inside, revision):
    message = f"cannot read {inside} at revision '{revision}': .*; give a tag, branch or commit"
    with pytest.raises(DatasetError, match=message) as refused:
        TableDataset(**arguments(repository, inside, revision)).load()
    assert "\n" not in str(refused.value)
    earlier = CollectionDataset(member=TENSORS, **arguments(repository, inside, revision))
    assert not earlier.exists()


def test_a_folder_without_a_repository_is_reported(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot read x\.parquet at revision 'v1': "):
        TableDataset(**arguments(tmp_path, "x.parquet", "v1")).load()


def test_an_earlier_revision_is_never_written(repository):
    with pytest.raises(DatasetError, match="features of an earlier revision can only be read"):
        CollectionDataset(member=TENSORS, **arguments(repository, "data/features", "v1")).save(
            {"a": Planned({}, int)}
        )
    with pytest.raises(DatasetError, match="cards of an earlier revision can only be read"):
        EarlierTableDataset(**arguments(repository, "data/cards.parquet", "v1")).save(
            pd.DataFrame({"x": [1]})
        )


def test_without_a_revision_the_earlier_table_is_empty(repository):
    assert EarlierTableDataset(**arguments(repository, "data/cards.parquet", None)).load().empty
    assert EarlierTableDataset(filepath="dvc:///data/cards.parquet").load().empty

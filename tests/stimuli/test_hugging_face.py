"""Data sets as Hugging Face keeps them: folders, saved ones, and the hub through its cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from tests.stimuli.small_hub import SmallHub

from rep_kedro.stimuli.record import DamagedSourceError

pytestmark = pytest.mark.slow

CHILD = Path(__file__).with_name("ingest_child.py")
REPO, COMMIT, LATER = "birds/tiny", "a" * 40, "b" * 40
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
CARD = """---
configs:
- config_name: small
  default: true
  data_files:
  - split: train
    path: small/tr*.parquet
  - split: validation
    path: [small/held-out.parquet]
- config_name: large
  data_files: large/*.parquet
dataset_info:
- config_name: small
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '1': dog
          '0': cat
---
# Birds
"""


def make_table(images, labels, *, declared=True):
    """Return a table as the library `datasets` makes it."""
    structs = [{"bytes": image, "path": f"{position}.jpg"} for position, image in enumerate(images)]
    table = pa.table({"image": structs, "label": labels})
    described = json.dumps({"info": {"features": FEATURES}})
    return table.replace_schema_metadata({"huggingface": described} if declared else {})


def write_parquet(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_saved(folder, tables, split):
    """Write tables as `save_to_disk` does (layout of datasets 5.2.0)."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(tables):05d}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def test_a_folder_of_parquet_shards_has_splits_and_class_names(make_set, tmp_path, jpeg):
    for number in range(2):
        table = make_table([jpeg(number), jpeg(number + 10)], [0, 1])
        write_parquet(tmp_path / "data" / f"train-{number:05d}-of-00002.parquet", table)
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", make_table([jpeg(7)], [1]))
    table, meta = make_set(source="hugging_face", path=tmp_path)
    assert (meta["counts"], meta["test_is"]) == ({"train": 4, "test": 1}, "val")
    assert meta["class_names"] == ["cat", "dog"]
    assert table["image"].to_pylist() == [jpeg(0), jpeg(10), jpeg(1), jpeg(11), jpeg(7)]
    _, meta = make_set(source="hugging_face", path=tmp_path, official_splits={"test": "validation"})
    assert meta["counts"] == {"test": 1}
    with pytest.raises(DamagedSourceError, match="no split 'validatoin'; known: train, val"):
        make_set(source="hugging_face", path=tmp_path, official_splits={"test": "validatoin"})
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DamagedSourceError, match=r"1 of 2 files of 'train' are missing .* train-00001-of"):
        make_set(source="hugging_face", path=tmp_path)


def test_the_card_says_which_files_make_which_part(make_set, tmp_path, jpeg):
    (tmp_path / "README.md").write_text(CARD)
    for name, numbers in {
        "small/tr1": [0],
        "small/tr2": [1],
        "small/held-out": [2],
        "large/x": [3, 4],
    }.items():
        table = make_table([jpeg(number) for number in numbers], [0] * len(numbers), declared=False)
        write_parquet(tmp_path / f"{name}.parquet", table)
    _, meta = make_set(source="hugging_face", path=tmp_path)
    assert meta["counts"] == {"train": 2, "test": 1}
    assert meta["class_names"] == ["cat", "dog"]
    _, meta = make_set(source="hugging_face", path=tmp_path, config="large")
    assert meta["counts"] == {"train": 2}
    with pytest.raises(DamagedSourceError, match="no config 'smal'; did you mean 'small'"):
        make_set(source="hugging_face", path=tmp_path, config="smal")
    (tmp_path / "README.md").write_text("no head")
    with pytest.raises(DamagedSourceError, match="several parts, choose a config: 'large', 'small'"):
        make_set(source="hugging_face", path=tmp_path)
    _, meta = make_set(source="hugging_face", path=tmp_path, config="large")
    assert meta["counts"] == {"train": 2}
    (tmp_path / "README.md").write_text("---\n: [\n---\n")
    with pytest.raises(DamagedSourceError, match="is no YAML"):
        make_set(source="hugging_face", path=tmp_path)


def test_what_save_to_disk_wrote_is_read(make_set, tmp_path, jpeg):
    one = tmp_path / "one"
    write_saved(one, [make_table([jpeg(0), jpeg(1)], [0, 1]), make_table([jpeg(2)], [1])], None)
    table, meta = make_set(source="hugging_face", path=one)
    assert (meta["counts"], meta["class_names"]) == ({"train": 3}, ["cat", "dog"])
    assert table["image"].to_pylist() == [jpeg(0), jpeg(1), jpeg(2)]
    both = tmp_path / "both"
    write_saved(both / "train", [make_table([jpeg(0)], [0])], "train")
    write_saved(both / "test", [make_table([jpeg(1)], [1])], "test")
    (both / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    _, meta = make_set(source="hugging_face", path=both)
    assert meta["counts"] == {"train": 1, "test": 1}
    shard = one / "data-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[:500])
    with pytest.raises(DamagedSourceError, match=r"00001-of-00002.arrow is truncated: a message asks for"):
        make_set(source="hugging_face", path=one)
    shard.unlink()
    with pytest.raises(DamagedSourceError, match=r"lacks data-00001-of-00002.arrow, which state.json"):
        make_set(source="hugging_face", path=one)


def test_saved_splits_that_number_their_classes_differently_are_refused(make_set, tmp_path, jpeg):
    for split in ("train", "test"):
        write_saved(tmp_path / split, [make_table([jpeg(0)], [0], declared=False)], split)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert make_set(source="hugging_face", path=tmp_path)[1]["class_names"] == ["cat", "dog"]
    other = {"label": {"_type": "ClassLabel", "names": ["dog", "cat"]}}
    (tmp_path / "test" / "dataset_info.json").write_text(json.dumps({"features": other}))
    with pytest.raises(
        DamagedSourceError, match=r"between train/dataset_info.json and test/dataset_info.json"
    ):
        make_set(source="hugging_face", path=tmp_path)


@pytest.mark.parametrize("key", ["_indices_files", "_indices_data_files"])
def test_a_saved_choice_of_rows_is_refused(make_set, tmp_path, jpeg, key):
    write_saved(tmp_path / "x", [make_table([jpeg(0)], [0])], None)
    state = json.loads((tmp_path / "x" / "state.json").read_text())
    (tmp_path / "x" / "state.json").write_text(json.dumps(state | {key: [{"filename": "indices.arrow"}]}))
    with pytest.raises(DamagedSourceError, match=r"chooses rows of its tables .*flatten_indices"):
        make_set(source="hugging_face", path=tmp_path / "x")


def test_images_that_lie_elsewhere_are_named(make_set, tmp_path, jpeg):
    structs = [{"bytes": jpeg(0), "path": None}, {"bytes": None, "path": "far/away.jpg"}]
    write_parquet(tmp_path / "train.parquet", pa.table({"image": structs, "label": [0, 1]}))
    with pytest.raises(DamagedSourceError, match=r"train/000001 \(no bytes .*, only a path 'far/away.jpg'\)"):
        make_set(source="hugging_face", path=tmp_path)
    _, meta = make_set(source="hugging_face", path=tmp_path, on_damaged="skip")
    assert [entry["item"] for entry in meta["damaged"]] == ["train/000001"]


def test_folders_without_stimuli_and_contradictions_are_refused(make_set, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DamagedSourceError, match=r"no tables .* which holds notes.txt; .*image_folder"):
        make_set(source="hugging_face", path=tmp_path)
    (tmp_path / "snapshots" / COMMIT).mkdir(parents=True)
    with pytest.raises(DamagedSourceError, match=f"name one of snapshots/: {COMMIT}"):
        make_set(source="hugging_face", path=tmp_path)
    with pytest.raises(ValidationError, match="chooses its splits with official_splits"):
        make_set(source="hugging_face", repo="a/b", splits={"train": "c"})
    for entry in ({}, {"repo": "a/b", "path": "c"}):
        with pytest.raises(ValidationError, match=r"needs either repo .* or path"):
            make_set(source="hugging_face", **entry)


# ---------------------------------------------------------------- the hub


@pytest.fixture
def files(tmp_path, jpeg):
    """Return what the data set on the hub holds, by name."""
    held = {"README.md": b"# Birds\n", "data/picture.bin": b"not wanted" * 100}
    for split, numbers in {"train": [0, 1, 2], "test": [3]}.items():
        path = tmp_path / "made" / f"{split}.parquet"
        write_parquet(
            path, make_table([jpeg(number) for number in numbers], [number % 2 for number in numbers])
        )
        held[f"data/{split}-00000-of-00001.parquet"] = path.read_bytes()
    return held


@pytest.fixture
def hub(files):
    small = SmallHub(REPO, {COMMIT: files, LATER: files}, {"main": COMMIT})
    yield small
    small.close()


@pytest.fixture
def ingest(tmp_path):
    """Return a function that ingests in a process with a cache and hub of its own."""

    def ask(entry, *, endpoint, **environment):
        given = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            **{
                "HF_HOME": str(tmp_path / "hf"),
                "HF_ENDPOINT": endpoint,
                "REP_KEDRO_CACHE": str(tmp_path / "c"),
            },
            **{"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*", **environment},
        }
        entry = json.dumps({"source": "hugging_face", "repo": REPO, **entry})
        done = subprocess.run(
            [sys.executable, str(CHILD), entry],
            env=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return ask


NOWHERE = "http://127.0.0.1:9"


def test_a_set_is_fetched_once_and_then_read_from_the_cache_alone(ingest, hub, tmp_path):
    shown = ingest({"revision": "main"}, endpoint=hub.url)
    assert shown["meta"]["counts"] == {"train": 3, "test": 1}
    assert shown["meta"]["class_names"] == ["cat", "dog"]
    source = shown["recipe"]["source"]
    assert source["commit"] == shown["meta"]["source"]["commit"] == COMMIT
    assert "revision" not in source
    assert shown["recipe"]["files_sha256"] is None
    assert not [path for _, path in hub.asked if "picture" in path]
    hub.asked.clear()
    pinned = ingest({"revision": COMMIT}, endpoint=hub.url)
    assert pinned["recipe"] == shown["recipe"]
    assert hub.asked == []
    offline = ingest({"revision": "main"}, endpoint=NOWHERE, HF_HUB_OFFLINE="1")
    unreachable = ingest({"revision": "main"}, endpoint=NOWHERE)
    assert offline["recipe"] == unreachable["recipe"] == shown["recipe"]
    assert offline["meta"] == unreachable["meta"] == shown["meta"]


def test_what_is_too_large_to_be_fetched_unasked_is_refused_with_the_command(ingest, hub):
    hub.claimed = {"data/train-00000-of-00001.parquet": 30_000_000_000}
    shown = ingest({"revision": COMMIT}, endpoint=hub.url)
    assert "bytes to fetch, the limit is 20,000,000,000; if meant, run: hf download" in shown["error"]
    assert not [method for method, path in hub.asked if method == "GET" and path.endswith(".parquet")]


def test_a_branch_that_moved_is_another_recipe(ingest, hub):
    before = ingest({}, endpoint=hub.url)
    hub.revisions["main"] = LATER
    after = ingest({}, endpoint=hub.url)
    assert after["recipe"]["source"].pop("commit") == LATER
    assert before["recipe"]["source"].pop("commit") == COMMIT
    assert after["recipe"] == before["recipe"]
    assert after["meta"]["sha256"] == before["meta"]["sha256"]


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_what_is_not_cached_is_one_line_with_the_way_out(ingest, hub, revision):
    shown = ingest({"revision": revision}, endpoint=hub.url, HF_HUB_OFFLINE="1")["error"]
    assert "\n" not in shown
    assert "'birds/tiny' of the Hugging Face hub" in shown
    assert "HF_HUB_OFFLINE forbids fetching it" in shown
    assert shown.startswith("stimulus set 'mine': ") == (revision == "main")  # else only fetching fails
    assert f"hf download --repo-type dataset birds/tiny --revision {revision}" in shown
    assert hub.asked == []
    shown = ingest({"revision": revision}, endpoint=NOWHERE)["error"]
    assert "\n" not in shown
    assert "it cannot be fetched from http://127.0.0.1:9 (" in shown
    assert f"hf download --repo-type dataset birds/tiny --revision {revision}" in shown


def test_unknown_names_on_the_hub_are_distinguished(ingest, hub):
    shown = ingest({"repo": "birds/none"}, endpoint=hub.url)["error"]
    assert "has no data set 'birds/none'" in shown
    assert "\n" not in shown
    shown = ingest({"revision": "v9"}, endpoint=hub.url)["error"]
    assert shown.endswith("data set 'birds/tiny' of the Hugging Face hub has no revision 'v9'")


def test_a_hub_in_trouble_is_no_matter_once_a_set_is_cached(ingest, hub):
    hub.trouble = 403, {"X-Error-Code": "GatedRepo"}
    shown = ingest({}, endpoint=hub.url)["error"]
    assert "is gated: accept its terms there and set HF_TOKEN" in shown
    hub.trouble = 400, {}
    assert "cannot be fetched from http://127.0.0.1" in ingest({}, endpoint=hub.url)["error"]
    hub.trouble = None
    fetched = ingest({}, endpoint=hub.url)
    hub.trouble = 500, {}
    assert ingest({}, endpoint=hub.url)["recipe"] == fetched["recipe"]


def test_a_cache_laid_out_by_hand_is_read_and_compared_with_its_checksums(ingest, files, tmp_path):
    import hashlib

    repository = tmp_path / "hf" / "hub" / "datasets--birds--tiny"
    for name, content in files.items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = repository / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    shown = ingest({}, endpoint=NOWHERE, HF_HUB_OFFLINE="1")
    assert shown["meta"]["counts"] == {"train": 3, "test": 1}
    assert shown["recipe"]["source"]["commit"] == COMMIT
    [train] = repository.rglob("train-*")
    content = bytearray(train.read_bytes())
    content[100] ^= 1
    train.resolve().write_bytes(content)
    shown = ingest({}, endpoint=NOWHERE, HF_HUB_OFFLINE="1")["error"]
    assert "train-00000-of-00001.parquet in the cache of the hub is not what the hub holds" in shown


def test_shards_of_the_hub_are_read_as_webdataset(ingest, tmp_path, write_tar, jpeg):
    held = {"classnames.txt": b"cat\ndog\n"}
    for split in ("train", "test"):
        tar = tmp_path / split / "0.tar"
        write_tar(tar, [("s0.jpg", jpeg(0)), ("s0.cls", b"1")])
        held |= {f"{split}/0.tar": tar.read_bytes(), f"{split}/nshards.txt": b"1"}
    hub = SmallHub(REPO, {COMMIT: held}, {"main": COMMIT})
    try:
        shown = ingest({}, endpoint=hub.url)
    finally:
        hub.close()
    assert shown["meta"]["counts"] == {"train": 1, "test": 1}
    assert shown["meta"]["class_counts"]["train"] == {"cat": 0, "dog": 1}

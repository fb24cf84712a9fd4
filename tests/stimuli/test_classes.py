"""Numbers and names of classes: order, twins, labels counted from 1, labels without names."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.stimuli.trees import idx_of, npz_of, parquet_of, picture, plant, shard_of, tar_of

from rep_kedro.errors import UserError
from rep_kedro.stimuli.labels import LabelMap
from rep_kedro.stimuli.record import DamagedSourceError

# ---------------------------------------------------------------- numbers as names


def numbered(*names):
    return {f"{name}/1.png": number for number, name in enumerate(names)}


def test_numeric_folders_sort_as_numbers_and_a_label_map_takes_them_by_name(make_set, tmp_path):
    plant(tmp_path, numbered(*range(12)))
    table, meta = make_set(source="image_folder", path=tmp_path)
    assert meta["class_names"] == [str(number) for number in range(12)]
    labels = dict(zip(table["stimulus_id"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert (labels["2/1.png"], labels["10/1.png"]) == (2, 10)
    for two in ([2], ["2"]):
        table, _ = make_set(source="image_folder", path=tmp_path, label_map={"classes": {"two": two}})
        assert table["stimulus_id"].to_pylist() == ["2/1.png"]


@pytest.mark.parametrize(
    ("names", "wanted"), [(["1", "2", "10"], 10), (["001", "002", "010"], 2), (["7"], 7)]
)
def test_a_number_is_a_name_where_all_names_are_numbers(make_set, tmp_path, names, wanted):
    plant(tmp_path, numbered(*names))
    table, _ = make_set(source="image_folder", path=tmp_path, label_map={"classes": {"x": [wanted]}})
    [found] = table["stimulus_id"].to_pylist()
    assert int(found.split("/")[0]) == wanted
    with pytest.raises(
        UserError, match=r"label_map names the class 0, which the source lacks; (did you mean|known: )"
    ):
        make_set(source="image_folder", path=tmp_path, label_map={"classes": {"x": [0]}})


def test_a_number_that_could_be_a_name_or_a_place_is_refused(make_set, tmp_path):
    plant(tmp_path, numbered("1", "2", "cat"))
    with pytest.raises(UserError, match=r"label_map: 1 could be the class named '1' or .*, as text"):
        make_set(source="image_folder", path=tmp_path, label_map={"classes": {"x": [1]}})
    table, _ = make_set(source="image_folder", path=tmp_path, label_map={"classes": {"x": ["1", "cat"]}})
    assert table["stimulus_id"].to_pylist() == ["1/1.png", "cat/1.png"]


def test_numbers_stay_places_where_names_are_words_and_must_be_there():
    some = LabelMap(classes={"x": [1, "cat"]})
    assert some.new_labels("train", ["ant", "bee", "cat"]) == {1: 0, 2: 0}
    with pytest.raises(UserError, match="names the class 3, which the source of 3 classes lacks"):
        LabelMap(classes={"x": [3]}).new_labels("train", ["ant", "bee", "cat"])
    assert LabelMap(classes={"x": [3, "5"]}).new_labels("train", None) == {3: 0, 5: 0}


def test_numeric_text_labels_of_tables_sort_as_numbers(make_set, tmp_path):
    plant(tmp_path, {"a.parquet": parquet_of(0, 1, 2, labels=["10", "9", "2"])})
    table, meta = make_set(source="parquet", path=tmp_path)
    assert meta["class_names"] == ["2", "9", "10"]
    assert table["label"].to_pylist() == [2, 1, 0]


def test_names_that_differ_in_a_number_alone_sort_by_it_and_are_not_mixed_up(make_set, tmp_path):
    plant(tmp_path, numbered(*(f"class_{number}" for number in range(12))))
    given = {"source": "image_folder", "path": tmp_path}
    table, _ = make_set(**given, label_map={"classes": {"two": [2]}})
    assert table["stimulus_id"].to_pylist() == ["class_2/1.png"]
    (tmp_path / "class_0").rename(tmp_path / "class_12")
    assert make_set(**given)[1]["class_names"] == [f"class_{number}" for number in range(1, 13)]
    with pytest.raises(UserError, match=r"label_map: 2 could be the class named 'class_2' or that with this"):
        make_set(**given, label_map={"classes": {"two": [2]}})


def test_text_labels_of_thousands_of_digits_are_words(make_set, tmp_path):
    plant(tmp_path, {"a.parquet": parquet_of(0, 1, labels=["9" * 6000, "10"])})
    assert make_set(source="parquet", path=tmp_path)[1]["class_names"] == ["10", "9" * 6000]


# ---------------------------------------------------------------- twins


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cat", "cat"),
        ("hot dog", "Hot_Dog"),
        ("hot-dog", "hot_dog"),
        ("01", "1"),
        ("é", "e\u0301"),
        ("a ", "a"),
    ],
)
def test_classes_that_differ_in_spelling_only_are_refused_until_it_is_stated(make_set, tmp_path, one, other):
    plant(
        tmp_path, {f"train/{one}/1.png": 1, "train/z/1.png": 2, f"test/{other}/1.png": 3, "test/z/1.png": 4}
    )
    given = {"source": "image_folder", "path": tmp_path}
    with pytest.raises(
        UserError, match=r"differ in (case, separators or leading zeros|their Unicode form) only; .*map"
    ):
        make_set(**given)
    _, meta = make_set(**given, label_map={"classes": {"both": [one, other], "z": ["z"]}})
    assert meta["class_counts"] == {"test": {"both": 1, "z": 1}, "train": {"both": 1, "z": 1}}
    _, meta = make_set(**given, class_names=[one, other, "z"])
    assert meta["class_counts"]["test"] == {one: 0, other: 1, "z": 1}
    assert meta["classes_of_test_alone"] == [other]


def test_twins_among_text_labels_are_refused_too(make_set, tmp_path):
    plant(tmp_path, {"a.parquet": parquet_of(0, 1, labels=["Cat", "cat"])})
    with pytest.raises(UserError, match="classes 'Cat' and 'cat' differ in case"):
        make_set(source="parquet", path=tmp_path)
    _, meta = make_set(source="parquet", path=tmp_path, label_map={"classes": {"cat": ["cat", "Cat"]}})
    assert meta["class_counts"] == {"train": {"cat": 2}}


def test_classes_that_training_lacks_are_named(make_set, tmp_path):
    plant(tmp_path, {"train/cat/1.png": 1, "train/dog/1.png": 2, "test/cat/1.png": 3, "test/owl/1.png": 4})
    assert make_set(source="image_folder", path=tmp_path)[1]["classes_of_test_alone"] == ["owl"]
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    _, meta = make_set(source="image_folder", path=tmp_path, splits={"test": "test"})
    assert meta["classes_of_test_alone"] == []  # there is no training split to lack any


# ---------------------------------------------------------------- labels counted from 1


def from_one(kind):
    """Return a source with the labels 1, 2, 3 of three stimuli."""
    pixels = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    members = [
        member
        for number in (1, 2, 3)
        for member in ((f"s{number}.png", number), (f"s{number}.cls", b"%d" % number))
    ]
    return {
        "parquet": lambda: {"train.parquet": parquet_of(1, 2, 3, labels=[1, 2, 3])},
        "npz": lambda: {"train.npz": npz_of(x=pixels, y=[1, 2, 3])},
        "idx": lambda: {
            "train-images-idx3-ubyte": idx_of(pixels),
            "train-labels-idx1-ubyte": idx_of(np.array([1, 2, 3])),
        },
        "webdataset": lambda: {
            "train-0.tar": tar_of([(name, _picture(c) if isinstance(c, int) else c) for name, c in members])
        },
    }[kind]()


def _picture(number):
    from tests.stimuli.trees import picture

    return picture(number)


@pytest.mark.parametrize("kind", ["parquet", "npz", "idx", "webdataset"])
def test_labels_from_1_to_k_with_k_names_are_counted_from_1(make_set, tmp_path, kind):
    plant(tmp_path, from_one(kind))
    given = {"source": kind, "path": tmp_path}
    found, meta = make_set(**given, class_names=["a", "b", "c"])
    assert found["label"].to_pylist() == [0, 1, 2]
    assert meta["class_counts"] == {"train": {"a": 1, "b": 1, "c": 1}}
    assert [note.partition(",")[0] for note in meta["notes"]] == ["labels run from 1 to 3"]
    stated, meta = make_set(**given, class_names=["a", "b", "c"], first_label=1)
    assert stated.equals(found)
    assert meta["notes"] == []
    with pytest.raises(DamagedSourceError, match=r"1 damaged item: .*label 3 is outside of the 3 classes\)"):
        make_set(**given, class_names=["a", "b", "c"], first_label=0)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 3], "abc", r"label 3 is outside of the 3 classes\)"),
        ([2, 3], "abc", r"label 3 is outside of the 3 classes, counted from 0; say first_label: 1 if"),
        ([1, 2, 3, 4], "abc", "2 damaged items: .*label 4 is outside of the 3 classes"),
    ],
)
def test_other_labels_that_are_too_large_are_refused(make_set, tmp_path, labels, names, message):
    plant(tmp_path, {"train.parquet": parquet_of(*range(len(labels)), labels=labels)})
    with pytest.raises(DamagedSourceError, match=message):
        make_set(source="parquet", path=tmp_path, class_names=list(names))


def test_a_label_map_must_not_meet_labels_that_are_counted_from_1(make_set, tmp_path):
    plant(tmp_path, from_one("parquet"))
    given = {"source": "parquet", "path": tmp_path, "class_names": ["a", "b", "c"]}
    label_map = {"classes": {"x": ["a"], "y": ["b", "c"]}}
    with pytest.raises(UserError, match=r"labels run from 1 to 3, .*say first_label: 1, so that label_map"):
        make_set(**given, label_map=label_map)
    table, _ = make_set(**given, label_map=label_map, first_label=1)
    assert table["label"].to_pylist() == [0, 1, 1]


def test_a_label_below_the_first_is_named(make_set, tmp_path):
    plant(tmp_path, {"train.parquet": parquet_of(0, 1, labels=[0, 1])})
    _, meta = make_set(source="parquet", path=tmp_path, class_names=["a"], first_label=1, on_damaged="skip")
    assert meta["damaged"] == [{"item": "train/000000", "reason": "label 0 is below first_label 1"}]


def test_a_first_class_without_stimuli_is_noted(make_set, tmp_path):
    plant(tmp_path, {"train.parquet": parquet_of(0, 1, labels=[1, 2])})
    given = {"source": "parquet", "path": tmp_path, "class_names": ["a", "b", "c"]}
    table, meta = make_set(**given)
    assert table["label"].to_pylist() == [1, 2]
    assert meta["notes"] == ["no stimulus has label 0 (a); if the source counts from 1, say first_label: 1"]
    assert make_set(**given, first_label=0)[1]["notes"] == []


def test_labels_as_text_and_as_numbers_do_not_mix(make_set, tmp_path):
    plant(
        tmp_path, {"train.parquet": parquet_of(0, labels=[0]), "test.parquet": parquet_of(1, labels=["cat"])}
    )
    with pytest.raises(DamagedSourceError, match="column 'label' is text in some files, numbers in others"):
        make_set(source="parquet", path=tmp_path)


# ---------------------------------------------------------------- labels without names


def test_labels_without_names_are_classes_named_by_their_number(make_set, tmp_path):
    plant(tmp_path, {"train/0.tar": shard_of(0, 1, 2), "test/0.tar": shard_of(3)})
    table, meta = make_set(source="webdataset", path=tmp_path)
    assert meta["class_names"] == ["0", "1"]
    assert meta["class_counts"] == {"train": {"0": 2, "1": 1}, "test": {"0": 0, "1": 1}}
    assert table["label"].to_pylist() == [0, 1, 0, 1]


def test_labels_that_look_like_ids_are_refused(make_set, tmp_path):
    plant(tmp_path, {"train.parquet": parquet_of(0, 1, labels=[1_000_000, 2_000_000])})
    with pytest.raises(UserError, match="label 2000000: labels look like ids"):
        make_set(source="parquet", path=tmp_path)
    table, _ = make_set(source="parquet", path=tmp_path, label_map={"classes": {"x": [2_000_000]}})
    assert table["stimulus_id"].to_pylist() == ["train/000001"]


def test_a_set_without_labels_has_no_classes(make_set, tmp_path):
    plant(tmp_path, {"0.tar": tar_of([("a.png", _picture(1))])})
    assert make_set(source="webdataset", path=tmp_path)[1]["class_names"] is None


# ---------------------------------------------------------------- names that places declare


def declared_parquet(names, *labels):
    """Return a Parquet file whose description names the classes."""
    described = {"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}}
    table = pa.table({"image": [picture(label) for label in labels], "label": labels})
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(described)}), stream)
    return stream.getvalue()


@pytest.mark.parametrize("source", ["parquet", "hugging_face"])
@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (["dog", "cat"], "label 0 is 'cat' in the first, 'dog' in the second"),
        (["cat", "cow", "dog"], "label 1 is 'dog' in the first, 'cow' in the second"),
        (["cat"], "label 1 is 'dog' in the first, without a name in the second"),
    ],
)
def test_files_that_number_their_classes_differently_are_refused(
    make_set, tmp_path, source, names, difference
):
    files = {
        "test.parquet": declared_parquet(names, 0, 0),
        "train.parquet": declared_parquet(["cat", "dog"], 0, 1),
    }
    given = {"source": source, "path": plant(tmp_path, files)}
    with pytest.raises(
        DamagedSourceError, match=rf"class names disagree between train\S+ and test\S+ {difference}"
    ):
        make_set(**given)
    assert make_set(**given, class_names=["x", "y"])[1]["class_names"] == ["x", "y"]


def test_a_card_that_contradicts_its_tables_is_refused(make_set, tmp_path):
    card = """---
dataset_info:
  features:
  - {name: image, dtype: image}
  - {name: label, dtype: {class_label: {names: {'0': dog, '1': cat}}}}
---
"""
    files = {"README.md": card.encode(), "train.parquet": declared_parquet(["cat", "dog"], 0, 1)}
    plant(tmp_path, files)
    with pytest.raises(
        DamagedSourceError, match=r"disagree between README\.md and train\.parquet: label 0 is"
    ):
        make_set(source="hugging_face", path=tmp_path)
    shards = {"README.md": card.encode(), "train/0.tar": shard_of(0, 1), "classnames.txt": b"cat\ndog\n"}
    plant(tmp_path / "shards", shards)
    with pytest.raises(
        DamagedSourceError, match=r"disagree between README\.md and \S+classnames.txt: label 0"
    ):
        make_set(source="hugging_face", path=tmp_path / "shards")


def test_one_name_for_two_classes_is_noted_and_no_label_may_use_it(make_set, tmp_path):
    shards = {"0.tar": shard_of(0, 1), "classnames.txt": b"crane\ncrane\n"}
    _, meta = make_set(source="webdataset", path=plant(tmp_path / "numbers", shards))
    assert meta["class_counts"] == {"train": {"crane (0)": 1, "crane (1)": 1}}
    assert meta["notes"] == [
        "several classes share a name, and stay classes of their own by their labels: crane"
    ]
    by_name = tar_of([("a.png", picture(0)), ("a.cls", b"crane")])
    shards = {"0.tar": by_name, "classnames.txt": b"crane\ncrane\n"}
    with pytest.raises(DamagedSourceError, match="label 'crane' is the name of several classes"):
        make_set(source="webdataset", path=plant(tmp_path / "names", shards))
    files = {"x.parquet": declared_parquet(["a", "b", "a"], 0, 1)}
    with pytest.raises(
        DamagedSourceError, match=r"x\.parquet gives several classes one name: a; rename them"
    ):
        make_set(source="parquet", path=plant(tmp_path / "declared", files))
    plant(tmp_path / "folders", {"a/1.png": 1, "b/1.png": 2})
    with pytest.raises(UserError, match="class_names has several classes named a; rename them"):
        make_set(source="image_folder", path=tmp_path / "folders", class_names=["a", "b", "a"])


def test_forms_of_unicode_are_shown_and_negative_numbers_are_names(make_set, tmp_path):
    plant(tmp_path / "forms", {"caf\u00e9/1.png": 1, "cafe\u0301/2.png": 2})
    with pytest.raises(UserError, match=r"'cafe\\u0301' and 'caf\\xe9' differ in their Unicode form only"):
        make_set(source="image_folder", path=tmp_path / "forms")
    plant(tmp_path / "signs", {"1/1.png": 1, "-1/2.png": 2})
    assert make_set(source="image_folder", path=tmp_path / "signs")[1]["class_names"] == ["-1", "1"]


@pytest.mark.parametrize(
    ("fraction", "reason"),
    [
        (0.99, "leaves 2 classes without a training stimulus, such as label 0"),
        (1e-9, "is no stimulus; set a larger"),
    ],
)
def test_a_test_fraction_that_leaves_a_side_empty_is_refused(make_set, tmp_path, fraction, reason):
    plant(tmp_path, {f"{name}/{number}.png": ord(name) + number for name in "ad" for number in range(3)})
    with pytest.raises(UserError, match=reason):
        make_set(source="image_folder", path=tmp_path, test_fraction=fraction)


def test_messages_have_one_line_and_say_why_nothing_is_left(make_set, tmp_path):
    plant(tmp_path, {"a/x\ny.png": b"no image"})
    with pytest.raises(DamagedSourceError, match=r"1 damaged item: a/x\\ny\.png \(not an image") as caught:
        make_set(source="image_folder", path=tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        DamagedSourceError, match=r"no stimulus is left of source 'image_folder'; 1 damaged item: a/x"
    ):
        make_set(source="image_folder", path=tmp_path, on_damaged="skip")

"""Labels of images in a table: every row and every image counts, whatever the file looks like."""

import json
import tracemalloc
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.small_collections import ARROW, store
from tests.stimuli.trees import plant, shard_of

from rep_kedro.errors import UserError
from rep_kedro.pipelines.ingest.nodes import plan_stimulus_sets
from rep_kedro.stimuli.assembly import meta_of
from rep_kedro.stimuli.drawing import draw_subset
from rep_kedro.stimuli.label_columns import find_labels, further_columns, own_name
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.stimuli.subsets import StratifiedRule

FILES = {"a/1.png": 1, "a/2.png": 2, "b/3.png": 3, "b/4.png": 4}
ROWS = [
    ("1.png", "cat", "red", "train", "fur;tail"),
    ("2.png", "dog", "", "train", "fur"),
    ("3.png", "cat", "blue", "test", ""),
    ("4.png", "dog", "red", "test", "tail"),
]
NAMES = ["filename", "breed", "colour", "fold", "parts"]
CHOSEN = {"id": "filename", "label": ["breed", "colour"], "split": "fold", "multi_label": {"parts": ";"}}


def in_csv(mark, quote=""):
    return "\n".join(mark.join(f"{quote}{cell}{quote}" for cell in row) for row in [NAMES, *ROWS])


def in_json_lines():
    return "\n".join(json.dumps({**dict(zip(NAMES, row, strict=True)), "size": 3}) for row in ROWS)


@pytest.fixture
def ingest(make_set, tmp_path):
    """Return a function from the text of a table, and how it is read, to the set of the images in FILES."""

    def make(table, name="labels.csv", files=FILES, source=None, **labels):
        root = plant(tmp_path / "photos", files)
        place = tmp_path / name
        place.write_bytes(table.encode() if isinstance(table, str) else table)
        entry = {"source": "image_folder", "path": root, **(source or {})}
        return make_set(**entry, labels={"file": place, "id": "filename", **labels})

    return make


def labels_of(table, meta):
    names = meta["class_names"]
    pairs = zip(table["stimulus_id"].to_pylist(), table["label"].to_pylist(), strict=True)
    return {stimulus: names[label] for stimulus, label in pairs}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", in_csv(",")),
        ("labels.csv", "\ufeff" + in_csv(",", '"').replace("\n", "\r\n") + "\r\n\r\n"),
        ("LABELS.TSV", in_csv("\t")),
        ("labels.jsonl", in_json_lines()),
        ("labels.ndjson", in_json_lines() + "\n\n"),
        ("labels.parquet", None),
    ],
)
def test_every_format_gives_the_same_set(ingest, tmp_path, name, text):
    if text is None:
        columns = dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))
        pq.write_table(pa.table(columns), tmp_path / "made.parquet")
        text = (tmp_path / "made.parquet").read_bytes()
    table, meta = ingest(text, name, **CHOSEN)
    assert labels_of(table, meta) == {"a/1.png": "cat", "a/2.png": "dog", "b/3.png": "cat", "b/4.png": "dog"}
    assert table["split"].to_pylist() == ["train", "train", "test", "test"]
    assert meta["label_columns"] == {"breed": ["cat", "dog"], "colour": ["blue", "red"]}
    assert table["label:colour"].to_pylist() == [1, None, 0, 1]
    assert meta["multi_label_columns"] == {"parts": ["fur", "tail"]}
    assert table["label:parts"].to_pylist() == [[0, 1], [0], None, [1]]


def test_a_subset_has_all_labels_of_its_set(ingest, tmp_path):
    table, meta = ingest(in_csv(","), **CHOSEN)
    handle = store(tmp_path / "sets", {"mine": table}, ARROW)["mine"]
    rule = StratifiedRule(per_class={"test": 1})
    drawn = draw_subset(handle, rule, set_name="mine", subset_name="few")
    assert drawn.column_names == ["stimulus_id", "label", "split", "label:colour", "label:parts"]
    assert drawn["label:parts"].to_pylist() == [None, [1]]
    for name in ("own_label", "label_columns", "multi_label_columns"):
        assert meta_of(drawn)[name] == meta[name]


def test_a_set_keeps_its_own_label_whatever_its_name(ingest, tmp_path):
    rows = zip(FILES, "yxyx", "aabb", strict=True)
    text = "\n".join(["filename,kind,breed", *(",".join(row) for row in rows)])
    table, _ = ingest(text, source={"test_fraction": 0.5}, label=["kind", "breed"])
    stored = store(tmp_path / "sets", {"mine": table}, ARROW)["mine"]
    drawn = draw_subset(stored, StratifiedRule(per_class={"test": 1}), set_name="mine", subset_name="few")
    for meta in (stored.meta, meta_of(drawn)):
        assert find_labels(meta, "kind", "mine") == ("label", ["x", "y"])
        assert find_labels(meta, "breed", "mine") == ("label:breed", ["a", "b"])
        assert (own_name(meta), further_columns(meta)) == ("kind", ["label:breed"])


def test_lists_in_cells_are_several_labels(ingest):
    rows = [
        {"filename": name, "breed": "x", "parts": parts}
        for name, parts in zip(FILES, [["b", "a"], [], None, ["b"]], strict=True)
    ]
    table, _ = ingest("\n".join(map(json.dumps, rows)), "l.jsonl", label="breed", multi_label=["parts"])
    assert table["label:parts"].to_pylist() == [[0, 1], [], None, [1]]
    with pytest.raises(UserError, match=r"'parts' of l.jsonl holds lists; name it in multi_label"):
        ingest("\n".join(map(json.dumps, rows)), "l.jsonl", label="parts")


def test_shards_take_labels_by_key(make_set, tmp_path):
    plant(
        tmp_path / "shards",
        {"train-0.tar": shard_of(0, 1, 2), "labels.csv": b"key,breed\ns0,x\ns1.png,y\ntrain-0/s2,x\n"},
    )
    entry = {"source": "webdataset", "path": tmp_path / "shards"}
    labels = {"file": tmp_path / "shards/labels.csv", "id": "key"}
    table, meta = make_set(**entry, labels=labels)
    assert [meta["class_names"][label] for label in table["label"].to_pylist()] == ["x", "y", "x"]
    assert not meta["ignored"]
    (tmp_path / "shards/labels.csv").write_text("key,breed\ns0,x\ns1,y\ns9,x\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"1 ids of labels.csv match no image, such as 's9'; 1 images have no row"
    ):
        make_set(**entry, labels=labels)


@pytest.mark.parametrize(
    "ids",
    [
        ["1.png", "2.png", "3.png", "4.png"],
        ["1", "2", "3", "4"],
        ["a/1.png", "a/2", "3", "b/4.png"],
        ["./a/1.png", "a\\2.png", "b\\3", "4"],
    ],
)
def test_an_id_is_a_path_or_the_end_of_one(ingest, ids):
    table, _ = ingest("filename,breed\n" + "".join(f"{name},c{place}\n" for place, name in enumerate(ids)))
    assert table["label"].to_pylist() == [0, 1, 2, 3]


def test_the_table_may_be_among_the_images(make_set, tmp_path):
    root = plant(tmp_path, {**FILES, "labels.csv": b"filename,breed\n1,x\n2,y\n3,x\n4,y\n"})
    table, meta = make_set(
        source="image_folder", path=root, labels={"file": root / "labels.csv", "id": "filename"}
    )
    assert (table.num_rows, meta["damaged"], meta["ignored"]) == (4, [], [])


def test_leading_zeros_are_kept(ingest):
    files = {"00012.png": 1, "12.png": 2}
    table, meta = ingest("filename,breed\n00012,01\n12,10\n", files=files)
    assert labels_of(table, meta) == {"00012.png": "01", "12.png": "10"}


def test_composed_and_decomposed_names_are_one(ingest):
    name = unicodedata.normalize("NFD", "café.png")
    table, _ = ingest("filename,breed\n" + unicodedata.normalize("NFC", name) + ",x\n", files={name: 1})
    assert table["stimulus_id"].to_pylist() == [name]
    both = {name: 1, unicodedata.normalize("NFC", name): 2}
    with pytest.raises(UserError, match=r"1 ids of labels.csv name several images"):
        ingest("filename,breed\ncafé,x\n", files=both)


def test_a_formula_is_a_class_like_any_other(ingest):
    _, meta = ingest("filename,breed\n1,\"=cmd|' /C calc'!A0\"\n2,@x\n3,-1\n4,+x\n")
    assert meta["class_names"] == ["+x", "-1", "=cmd|' /C calc'!A0", "@x"]


def test_equal_rows_count_once_and_are_noted(ingest):
    table, meta = ingest("filename,breed\n1,x\n1,x\n2,y\n3,x\n./3,x\n4,y\n")
    assert table.num_rows == 4
    assert "2 rows of labels.csv repeat others and count once" in meta["notes"]


def test_what_does_not_match_may_be_left_out(ingest):
    text = "filename,breed\n1,x\n2,y\n3,z\n7,a\n8,y\n"
    table, meta = ingest(text, unmatched="leave_out")
    assert table["stimulus_id"].to_pylist() == ["a/1.png", "a/2.png", "b/3.png"]
    assert meta["left_out"] == {"without a row in labels.csv": 1}
    assert meta["class_names"] == ["a", "x", "y", "z"]
    assert meta["notes"] == [
        "2 ids of labels.csv match no image, such as '7', '8'",
        "1 images have no row in labels.csv, such as 'b/4.png'",
    ]


def test_numbers_of_folds_are_stated_splits(ingest):
    text = "filename,breed,fold\n1,x,0\n2,y,1\n3,x,2\n4,y,3\n"
    table, meta = ingest(text, label="breed", split="fold", splits={"train": [0, 1], "test": 2})
    assert table["split"].to_pylist() == ["train", "train", "test"]
    assert meta["left_out"] == {"splits of labels.csv": 1}


def test_class_names_give_the_order_and_numbers_count_in_it(ingest):
    _, meta = ingest("filename,breed\n1,y\n2,x\n3,y\n4,x\n", source={"class_names": ["y", "x"]})
    assert meta["class_names"] == ["y", "x"]
    table, _ = ingest("filename,breed\n1,1\n2,0\n3,1\n4,0\n", source={"class_names": ["y", "x"]})
    assert table["label"].to_pylist() == [1, 0, 1, 0]


def test_a_label_map_takes_classes_of_the_table(ingest):
    table, meta = ingest(
        "filename,breed\n1,Cat\n2,cat\n3,dog\n4,cow\n",
        source={"label_map": {"classes": {"pet": ["Cat", "cat", "dog"]}}},
    )
    assert (table.num_rows, meta["class_names"], meta["label_columns"]) == (3, ["pet"], {"breed": ["pet"]})


def test_whole_numbers_of_a_frame_with_gaps_stay_whole(ingest, tmp_path):
    pq.write_table(
        pa.table(
            {
                "filename": ["1", "2", "3", "4"],
                "breed": ["x", "x", "y", "y"],
                "age": [1.0, None, float("nan"), 10.0],
            }
        ),
        tmp_path / "t.parquet",
    )
    table, meta = ingest((tmp_path / "t.parquet").read_bytes(), "l.parquet", label=["breed", "age"])
    assert meta["label_columns"]["age"] == ["1", "10"]
    assert table["label:age"].to_pylist() == [0, None, None, 1]


GOOD = "filename,breed\n1,x\n2,y\n3,x\n4,y\n"
FOLDS = "filename,breed,fold\n1,x,{}\n2,y,{}\n3,x,{}\n4,y,{}\n"
BY_FOLD = {"label": "breed", "split": "fold"}
REFUSED = {
    "no such column": (GOOD, {"label": "bred"}, r"labels.csv has no column 'bred'; did you mean 'breed'\?"),
    "several could be it": (
        "filename,breed,colour\n",
        {},
        r"breed, colour could each be it; say `label: NAME`",
    ),
    "column twice": ("filename,breed,breed\n", {"label": "breed"}, r"has 2 columns 'breed'; rename all but"),
    "other mark": (GOOD.replace(",", ";"), {}, r'separated by \';\': say `delimiter: ";"`'),
    "empty file": ("", {}, r"labels.csv is empty"),
    "no rows": ("filename,breed\n", {}, r"labels.csv has no rows"),
    "no id": ("filename,breed\n1,x\n,y\n", {}, r"line 3 of labels.csv has no id \(column 'filename'\)"),
    "contradiction": (
        GOOD + "1,z\n",
        {},
        r"contradict each other: '1' \(breed: 'x', 'z'\); keep one row for each",
    ),
    "two rows for one image": (GOOD + "a/1.png,x\n", {}, r"1 ids of labels.csv match no image, such as '1'"),
    "no image": (GOOD + "7,x\n8,x\n9,x\n10,x\n", {}, r"4 ids of .* match no image, such as '7', '8', '9';"),
    "no row": (
        "filename,breed\n1,x\n",
        {},
        r"3 images have no row in labels.csv, such as 'a/2.png', 'b/3.png'",
    ),
    "case": (GOOD.replace("1,x", "A/1.PNG,x"), {}, r"differ from names in case, such as A/1.PNG for a/1.png"),
    "zeros of ids": (GOOD.replace("1,x", "0001,x"), {}, r"differ in leading zeros, such as 0001 for a/1.png"),
    "traversal": (
        GOOD + "../../etc/passwd,x\n/etc/passwd,x\n",
        {},
        r"2 ids of .* match no image, such as '\.\./\.\.",
    ),
    "more folders": (GOOD.replace("1,x", "img/a/1.png,x"), {}, r"more folders than .*, such as img/a/1.png"),
    "quoted line break": (GOOD.replace("4,y", '4,"y\nz"'), {}, r"the label 'y\\nz' has a line break"),
    "open quote": (GOOD.replace("4,y", '4,"y'), {}, r"line 5 of labels.csv: unexpected end of data"),
    "ragged": (GOOD + "5,x,z\n", {}, r"line 6 of labels.csv has 3 fields, its first line names 2"),
    "maybe missing": (
        GOOD.replace("4,y", "4,NaN"),
        {},
        r"'NaN' could be .* no label; say `missing: \['NaN'\]",
    ),
    "no label": (GOOD.replace("4,y", "4,"), {}, r"b/4.png \(no label, while others have one\)"),
    "no labels": ("filename,breed\n1,\n2,\n3,\n4,\n", {}, r"has no label in any row"),
    "case of classes": (
        GOOD.replace("4,y", "4,Y"),
        {},
        r"'breed' of labels.csv: classes 'Y' and 'y' differ in",
    ),
    "zeros of classes": ("filename,breed\n1,1\n2,01\n3,x\n4,x\n", {}, r"classes '01' and '1' differ in"),
    "not UTF-8": (GOOD.encode() + b"5,\xe9\n", {}, r"labels.csv is not UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), {}, r"labels.csv is in UTF-16; save it as UTF-8"),
    "long line": (GOOD + "5," + "x" * (1 << 20) + "\n", {}, r"line 6 of labels.csv has more than 1,048,576"),
    "no splits": (
        FOLDS.format(0, 1, 0, 1),
        BY_FOLD,
        r"0, 1 are not names .*`splits: \{train: \[0\], test: \[1\]\}`",
    ),
    "two names of a split": (FOLDS.format(*["val", "dev"] * 2), BY_FOLD, r"could each be the split val"),
    "no split": (
        FOLDS.format("train", "", "test", "test"),
        BY_FOLD,
        r"'fold' of labels.csv is empty in 1 rows",
    ),
    "unused split": (
        FOLDS.format(*"0101"),
        BY_FOLD | {"splits": {"test": [9]}},
        r"never holds '9'; it holds 0, 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(ingest, case):
    text, labels, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        ingest(text, **labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"filename": "1", "breed": NaN}', "line 2 of l.jsonl: no JSON: NaN is not allowed"),
        (
            '{"filename": "1", "breed": 3}',
            "line 2 of l.jsonl, column 'breed': numbers, while rows before it have text",
        ),
        ('{"filename": "1", "breed": {}}', "column 'breed': dict is neither text nor a whole number"),
        ('{"filename": "1", "filename": "2"}', "a key occurs twice"),
        ("[" * 100_000, "line 2 of l.jsonl: no JSON"),
        ("[]", "line 2 of l.jsonl is no JSON object"),
        ('{"filename": ["1"], "breed": "x"}', "line 2 of l.jsonl, column 'filename': lists, while"),
    ],
)
def test_lines_that_are_not_as_the_others_are_named(ingest, line, message):
    with pytest.raises(UserError, match=message):
        ingest('{"filename": "2", "breed": "x"}\n' + line, "l.jsonl")


def test_numbers_with_a_fraction_are_no_classes(ingest, tmp_path):
    pq.write_table(pa.table({"filename": ["1"], "breed": [0.5]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"row 1 of l.parquet, column 'breed': 0.5 is no whole number"):
        ingest((tmp_path / "t.parquet").read_bytes(), "l.parquet")


@pytest.mark.parametrize("column", ["breed", "breed.of.dog"])
def test_a_huge_page_is_refused_before_it_is_unpacked(ingest, tmp_path, column):
    table = pa.table({"filename": ["1"], column: ["x" * 40_000_000]})
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd", use_dictionary=False)
    content = (tmp_path / "t.parquet").read_bytes()
    del table
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a page of column .* has .* bytes, the limit is 1,000,000"):
        ingest(content, "l.parquet", source={"limits": {"record_bytes": 1_000_000}})
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_more_rows_than_stimuli_may_be_are_refused(ingest):
    with pytest.raises(UserError, match=r"labels.csv has 4 stimuli, the limit is 3"):
        ingest(GOOD, source={"limits": {"stimuli": 3}})


def test_folders_that_say_other_splits_are_refused(ingest):
    files = {"train/1.png": 1, "train/2.png": 2, "test/3.png": 3, "test/4.png": 4}
    text = "filename,breed,fold\n1,x,train\n2,y,test\n3,x,test\n4,y,test\n"
    with pytest.raises(UserError, match=r"other splits than labels.csv, such as of train/2.png; remove"):
        ingest(text, files=files, label="breed", split="fold")
    table, _ = ingest(text, files=files, label="breed", split="fold", source={"splits": "none"})
    assert sorted(table["split"].to_pylist()) == ["test", "test", "test", "train"]


@pytest.mark.parametrize(
    ("source", "labels", "message"),
    [
        ({"classes": "last"}, {}, "classes has no effect together with labels"),
        ({"first_label": 1}, {}, "first_label has no effect"),
        ({"test_fraction": 0.2}, {"split": "fold"}, "test_fraction has no effect together with labels.split"),
        ({}, {"label": ["filename"]}, "columns of labels are listed twice"),
        ({}, {"splits": {"test": "1"}}, "splits has no effect without split"),
    ],
)
def test_parameters_without_effect_are_refused(ingest, source, labels, message):
    with pytest.raises(ValueError, match=message):
        ingest(GOOD, source=source, **labels)


def test_a_plan_refuses_labels_that_do_not_match_and_follows_the_table(tmp_path):
    root, table = plant(tmp_path / "photos", FILES), tmp_path / "labels.csv"
    labels = {"file": str(table), "id": "filename", "label": "breed"}
    params = IngestParams(
        stimulus_sets={"mine": {"source": "image_folder", "path": str(root), "labels": labels}}
    )
    table.write_text(GOOD, encoding="utf-8")
    first = plan_stimulus_sets(params)["mine"].recipe
    assert str(tmp_path) not in json.dumps(first)
    table.write_text(GOOD.replace("4,y", "4,x"), encoding="utf-8")
    assert plan_stimulus_sets(params)["mine"].recipe["labels_sha256"] != first["labels_sha256"]
    table.write_text(GOOD + "9,x\n", encoding="utf-8")
    plan = plan_stimulus_sets(params)
    assert not list(plan)
    assert plan.left_out["mine"].startswith("stimulus set 'mine': 1 ids of labels.csv match no image")

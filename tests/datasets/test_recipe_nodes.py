"""Single files are kept while their recipe is unchanged, and computed again when it changes."""

import inspect
import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from pydantic import BaseModel

from rep_kedro.checks.planning import load_handles
from rep_kedro.datasets import (
    CollectionDataset,
    Planned,
    RecipeNode,
    TableDataset,
    TableHandle,
    Tensors,
    TextDataset,
    node,
    only,
    reference_of,
    rows_digest,
)
from rep_kedro.datasets.partial import Handles
from rep_kedro.datasets.validators import TableContract
from rep_kedro.schemas.columns import Column, integer, text
from rep_kedro.schemas.table import Table

CALLS: list[str] = []


class Settings(BaseModel):
    """Parameters of a small study."""

    factor: float = 2.0
    device: str = "cpu"


def scale(numbers, params: Settings):
    """Make the first table."""
    CALLS.append("scale")
    rows = [(key, float(handle.tensor("x").sum()) * params.factor) for key, handle in numbers.items()]
    return pd.DataFrame(rows, columns=["key", "value"])


def count(scaled, params: dict):
    """Make the second table, of which most changes of the first change nothing."""
    CALLS.append("count")
    return pd.DataFrame({"n": [len(scaled)], "unit": [params["unit"]]})


def split(scaled):
    """Make two tables at once."""
    CALLS.append("split")
    return scaled.head(1), scaled.tail(1)


def write_page(counted, scaled):
    """Make the page."""
    CALLS.append("write_page")
    return f"<p>{len(scaled)} {counted['unit'][0]}</p>\n"


def save_numbers(folder, values, *, keep_going=False):
    numbers = CollectionDataset(
        filepath=str(folder / "numbers"), member="rep_kedro.datasets.TensorsDataset", keep_going=keep_going
    )
    numbers.save(
        {key: Planned({"value": value}, lambda value=value: make(value)) for key, value in values.items()}
    )
    return numbers


def make(value):
    if value is None:
        raise ValueError("no number")
    return Tensors({"x": np.array([value], np.float32)}, {})


class Study:
    """A collection, three nodes, four files."""

    def __init__(self, folder):
        self.folder = folder
        self.values = {"a": 1.0, "b": 2.0}
        self.settings = Settings()
        self.unit = "rows"
        self.keep_going = False
        self.ignored = {"params:settings": only({"factor"})}
        self.data = []

    def run(self):
        """Run everything; return which functions were called."""
        numbers = save_numbers(self.folder, self.values, keep_going=self.keep_going)
        names = ("scaled", "counted", "first", "last")
        self.tables = {name: TableDataset(filepath=str(self.folder / f"{name}.parquet")) for name in names}
        self.page = TextDataset(filepath=str(self.folder / "page.html"))
        catalog = DataCatalog(
            {
                "numbers": numbers,
                "page": self.page,
                "params:settings": MemoryDataset(self.settings),
                "params:more": MemoryDataset({"unit": self.unit}),
                **self.tables,
            }
        )
        pipeline = Pipeline(
            [
                RecipeNode(scale, ["numbers", "params:settings"], "scaled", counts=self.ignored),
                RecipeNode(count, {"scaled": "scaled", "params": "params:more"}, "counted"),
                RecipeNode(split, "scaled", ["first", "last"]),
                RecipeNode(write_page, ["counted", "scaled"], "page", data=self.data),
            ],
            tags=["cpu"],
        )
        load_handles(catalog, pipeline)
        CALLS.clear()
        SequentialRunner().run(pipeline, catalog)
        return sorted(CALLS)

    def state(self):
        """Return time and bytes of each file."""
        files = [path for path in self.folder.iterdir() if path.is_file() and "journal" not in path.name]
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


ALL = ["count", "scale", "split", "write_page"]


@pytest.fixture
def revisions(monkeypatch):
    """The revision of this module, which is no part of the project."""
    found = {__name__: "0000000000000000"}
    monkeypatch.setattr(node, "code_revision", lambda module: found[module])
    return found


@pytest.fixture
def study(tmp_path, revisions):
    made = Study(tmp_path)
    assert made.run() == ALL
    return made


def test_an_unchanged_run_computes_nothing_and_leaves_every_file_alone(study):
    before = study.state()
    assert study.run() == []
    assert study.state() == before
    assert [table.counts for table in study.tables.values()] == [(0, 1)] * 4
    assert study.page.counts == (0, 1)


def test_a_table_reads_as_it_was_made_and_as_a_handle_in_a_run(study):
    assert isinstance(study.tables["scaled"].load(), TableHandle)
    again = TableDataset(filepath=str(study.folder / "scaled.parquet")).load()
    assert again.to_dict("list") == {"key": ["a", "b"], "value": [2.0, 4.0]}
    assert study.page.load() == "<p>2 rows</p>\n"


def test_a_changed_parameter_computes_what_depends_on_it(study):
    study.unit = "lines"
    assert study.run() == ["count", "write_page"]
    assert study.page.load() == "<p>2 lines</p>\n"
    assert study.run() == []


def test_a_parameter_that_changes_no_value_computes_nothing(study):
    study.settings = Settings(device="cuda")
    assert study.run() == []


def test_a_change_upstream_without_an_effect_stops_where_the_content_is_equal(study):
    study.settings = Settings(factor=3.0)
    assert study.run() == ["count", "scale", "split", "write_page"]
    counted = study.state()["counted.parquet"]
    study.ignored = {}  # the first table's recipe changes, its rows do not
    assert study.run() == ["scale"]
    assert study.state()["counted.parquet"] == counted


def test_a_member_that_changed_computes_what_is_made_of_it(study):
    study.values["a"] = 5.0
    assert "scale" in study.run()
    assert TableDataset(filepath=str(study.folder / "scaled.parquet")).load()["value"].tolist() == [10.0, 4.0]


def test_other_code_computes_again_and_the_code_of_before_gives_the_bytes_of_before(study, revisions):
    before = study.state()
    revisions[__name__] = "0123456789abcdef"
    assert study.run() == ALL
    after = study.state()
    assert all(after[name][1] != before[name][1] for name in before)  # each header has the other revision
    revisions[__name__] = "0000000000000000"
    assert study.run() == ALL
    assert {name: content for name, (_, content) in study.state().items()} == {
        name: content for name, (_, content) in before.items()
    }


def test_another_file_of_data_computes_again(study):
    template = study.folder / "templates"
    template.mkdir()
    (template / "page.txt").write_text("one")
    study.data = [template]
    assert study.run() == ["write_page"]
    assert study.run() == []
    (template / "page.txt").write_text("two")
    assert study.run() == ["write_page"]


@pytest.mark.parametrize("name", ["counted.parquet", "page.html"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_or_missing_file_is_computed_again_with_the_same_bytes(study, name, damage):
    path, before = study.folder / name, study.state()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-9])
    assert study.run() == ["count" if name == "counted.parquet" else "write_page"]
    after = study.state()
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }


def test_one_of_two_outputs_is_computed_alone(study):
    before = study.state()
    (study.folder / "last.parquet").unlink()
    assert study.run() == ["split"]
    assert study.state()["first.parquet"] == before["first.parquet"]
    assert study.state()["last.parquet"][1] == before["last.parquet"][1]


def test_a_table_without_a_recipe_is_computed_once(study):
    table = study.tables["counted"]
    table.save(pd.DataFrame({"n": [2], "unit": ["rows"]}))
    assert study.run() == ["count"]
    assert study.run() == []


def test_a_table_of_some_members_is_never_taken_for_one_of_all(study):
    study.keep_going = True
    study.values["c"] = None
    assert "scale" in study.run()
    recipe = json.loads(pq.read_metadata(study.folder / "scaled.parquet").metadata[b"rep_kedro"])["recipe"]
    assert recipe["inputs"]["numbers"]["missing"] == ["c"]
    del study.values["c"]
    assert "scale" in study.run()
    recipe = json.loads(pq.read_metadata(study.folder / "scaled.parquet").metadata[b"rep_kedro"])["recipe"]
    assert "missing" not in recipe["inputs"]["numbers"]


def test_the_header_has_neither_times_nor_paths_nor_platform(study):
    recipe = json.loads(pq.read_metadata(study.folder / "scaled.parquet").metadata[b"rep_kedro"])["recipe"]
    assert recipe.keys() == {"code", "function", "inputs", "output"}
    assert recipe["inputs"]["params:settings"] == {"factor": 2.0}
    assert recipe["inputs"]["numbers"].keys() == {"n_members", "digest"}
    assert str(study.folder) not in json.dumps(recipe)


def test_why_something_is_missing_counts_too():
    whole = reference_of(Handles({}, {"a": "no file"}, {}))
    assert whole != reference_of(Handles({}, {"a": "out of memory"}, {}))
    assert whole["missing"] == ["a"]
    assert reference_of(Handles({}, {}, {})) == {}


def test_an_earlier_table_counts_with_its_rows_and_revision():
    table = pd.DataFrame({"x": [1, 2]})
    table.attrs["revision"] = "v1"
    assert reference_of(table) == {"rows": rows_digest(table), "revision": "v1"}


def test_the_reference_of_a_table_is_that_of_its_rows_with_or_without_a_header(tmp_path):
    table = pd.DataFrame({"x": [1, None], "n": pd.array([1, None], "Int64"), "t": ["a", None]})
    with_header = TableDataset(filepath=str(tmp_path / "a.parquet"))
    with_header.save(table)
    with_header.loads_handles = True
    handle = with_header.load()
    assert handle.reference == {"rows": rows_digest(table)}
    assert handle.reference == {"rows": rows_digest(handle.frame())}


def contract_of(monkeypatch: pytest.MonkeyPatch, *columns: Column) -> TableContract:
    declared = Table("counted", "Rows of a test.", key=("n",), columns=columns)
    monkeypatch.setattr("rep_kedro.datasets.validators.get_table", lambda name: declared)
    return TableContract("counted")


def test_a_broken_contract_names_the_table_and_leaves_the_file_alone(study, monkeypatch):
    contract = contract_of(monkeypatch, integer("n", "number"), integer("unit", "of it"))
    planned = Planned({}, lambda: pd.DataFrame({"n": [1], "unit": ["x"]}))
    before = study.state()
    with pytest.raises(DatasetError, match="breaks its contract in the catalog: column unit is not integer"):
        study.tables["counted"].save(contract.validate(planned))
    assert study.state() == before


def test_another_contract_computes_again(study, monkeypatch):
    planned = Planned({"x": 1}, lambda: pd.DataFrame({"n": [1], "unit": ["x"]}))
    table = study.tables["counted"]
    contract = contract_of(monkeypatch, integer("n", "number"), text("unit", "of it"))
    table.save(contract.validate(planned))
    assert not table.pending(contract.validate(planned))
    other = contract_of(monkeypatch, integer("n", "number"), text("unit", "of it", missing="never known"))
    assert table.pending(other.validate(planned))
    in_other_words = contract_of(monkeypatch, integer("n", "a count"), text("unit", "what is counted"))
    assert not table.pending(in_other_words.validate(planned))


def test_a_recipe_that_json_cannot_hold_is_refused(tmp_path):
    table = TableDataset(filepath=str(tmp_path / "t.parquet"))
    with pytest.raises(
        DatasetError, match=re.escape("t: its recipe is not plain JSON data: recipe.x is nan")
    ):
        table.save(Planned({"x": float("nan")}, pd.DataFrame))


def test_a_node_with_a_recipe_is_its_function_to_whoever_looks():
    made = RecipeNode(scale, ["numbers", "params:settings"], "scaled", name="scaled", data=[]).tag("cpu")
    assert isinstance(made, RecipeNode)
    assert made.func is scale
    assert made.tags == {"cpu"}
    assert "Make the first table" in inspect.getsource(made.func)

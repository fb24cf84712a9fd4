"""The tables of a run are those that are declared, and so is the page that lists them."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.project.conftest import ROOT, run_shared

from rep_kedro.commands import tables
from rep_kedro.schemas import TABLES
from rep_kedro.schemas.columns import Kind

ARROW = {
    Kind.TEXT: "large_string",
    Kind.TEXTS: "list<element: string>",
    Kind.INTEGER: "int64",
    Kind.NUMBER: "double",
    Kind.FLAG: "bool",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_run_writes_exactly_the_declared_columns_and_types(study: Path, name: str) -> None:
    [path] = study.glob(f"data/**/{name}.parquet")
    assert {f.name: str(f.type) for f in pq.read_schema(path)} == {
        column.name: ARROW[column.kind] for column in TABLES[name].columns
    }
    assert tuple(pq.read_schema(path).names) == TABLES[name].names


def test_the_page_of_tables_is_that_of_the_declarations() -> None:
    assert "agrees" in run_shared(ROOT, "kedro", "tables", "--check").stdout


def test_a_page_that_differs_is_noticed_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "tables.md"
    monkeypatch.setattr(tables, "_PAGE", page)
    with pytest.raises(SystemExit):
        tables.command.callback(check=True)
    assert "run `kedro tables`" in capsys.readouterr().err
    assert not page.exists()
    tables.command.callback(check=False)
    assert page.read_text(encoding="utf-8") == (ROOT / "docs/tables.md").read_text(encoding="utf-8")
    tables.command.callback(check=True)

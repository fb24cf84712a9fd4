"""Tables of runs that were made elsewhere: what is refused, so that no number is read from a wrong column."""

import pandas as pd
import pytest
from pydantic import ValidationError

from rep_kedro.analyses.selection.criteria import judge_criteria
from rep_kedro.analyses.selection.params import CriteriaParams, ModelSelectionParams
from rep_kedro.analyses.selection.runs import read_runs_tables
from rep_kedro.checks.study_names import _refused_runs
from rep_kedro.errors import UserError
from rep_kedro.schemas.probing import PROBE_RESULTS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "needs a header and at least one row"),
        (b"run,g,c,p\n,,,\n", "needs a header and at least one row"),
        (b"run,g,c,p\n\xff,a,1,2\n", "not a CSV file in UTF-8"),
        (b'run,g,c,p\n"a,a,1,2\n', "not a CSV file in UTF-8"),
        (b"run,g,c,c,p\na,a,1,2,3\n", "several columns 'c'"),
        (b"run,g,c,p\na,a\n", "row 1 has 2 cells, the header has 4"),
        (b"run,g,c,p\nx,a,a,1,2\n", "row 1 has 5 cells, the header has 4"),
        (b"run,g,c,p\na,a,1,2\nb,a,\0,2\n", "is no text: line 3 has a NUL byte"),
        (b"run,g,c,p\na,a,1,2\nb,a,1,-inf\n", "column 'p' has '-inf' for 'b', not a finite number .*; leave"),
        (b"run,g,c,p\na,a,x,2\n", "column 'c' has 'x' for 'a', not a finite number .*; leave"),
        (b"run,g,c,p\na,a,True,2\nb,a,False,2\n", "column 'c' has 'True' for 'a', not a finite number"),
        (b'run,g,c,p\na,a,"1,5",2\n', "column 'c' has '1,5' for 'a'.*with a decimal point, as 1234.5"),
        (b"run,g,c,p\na,a,,2\nb,a,NA,2\n", "column 'c' has no value for any of 2 runs"),
        (b"run,g,c,p\na,a,1,2\nb,,1,2\n", "column 'g' has no method for 'b'"),
        (b"run,g,c,p\na,all,1,2\n", "column 'g' calls a method 'all', which is the name of all methods"),
        (b"run;g;c;p\na;a;1,5;2\n", "has ';' between columns; save it with commas and decimal points"),
        (b"run\tg\tc\tp\na\ta\t1\t2\n", "between columns; save it with commas"),
        (b"run,g,c,p\n", "needs a header and at least one row"),
        (b"run,g,c,\na,a,1,2\n", "unknown runs_tables.t: column 'p'; known: c, g, run"),
        (b"run,g,c,p\na ,a,1,2\na,a,1,2\n", "column 'run' has several rows for 'a'"),
        (b"run,g,c,p\na,a,1,2\n,a,1,2\n", "column 'run' has no name in 1 of 2 rows"),
        (b"run,g,c,p\n01,a,1,2\n01,a,1,2\n", "column 'run' has several rows for '01'"),
    ],
)
def test_a_table_that_can_be_misread_is_refused(tmp_path, content, message):
    file = tmp_path / "runs.csv"
    file.write_bytes(content)
    table = {"file": str(file), "run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    params = CriteriaParams.model_validate({"runs_tables": {"t": table}})
    with pytest.raises(UserError, match=message):
        list(read_runs_tables(params))


def test_a_column_of_exclusions_holds_true_and_false(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("run,g,x,c,p\na,a,no,1,2\n", encoding="utf-8")
    table = {"file": str(file), "run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    params = CriteriaParams.model_validate({"runs_tables": {"t": {**table, "exclude": "x"}}})
    with pytest.raises(UserError, match="column 'x' has 'no', not true or false"):
        list(read_runs_tables(params))
    file.write_text("run,g,x,c,p\na,a,False,1,2\nb,a,True,1,2\n", encoding="utf-8")
    assert [runs.names for runs in read_runs_tables(params)] == [["a"]]
    file.write_text("run,g,x,c,p\na,a,True,1,2\n", encoding="utf-8")
    with pytest.raises(UserError, match="column 'x' excludes all runs"):
        list(read_runs_tables(params))


def test_a_mark_of_byte_order_is_no_part_of_the_header_and_names_are_texts(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_bytes("\ufeffrun,g,c,p\n01,a,1,2\n1,a,,3\n".encode())
    table = {"file": str(file), "run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    (runs,) = read_runs_tables(CriteriaParams.model_validate({"runs_tables": {"t": table}}))
    assert runs.names == ["01", "1"]
    assert runs.performances == {"p": {"01": 2.0, "1": 3.0}}
    assert [list(values.values()) for values in runs.criteria.values()] == [[1.0]]


@pytest.mark.parametrize(
    "content",
    [
        b"run,g,c,p\rNA,x,1,2\rb,x,2,3\r",
        b"run,g,c,p\r\n\r\nNA,x,1,2\r\n  \r\nb,x,2,3\r\n",
        b" run, g, c, p\nNA , x , 1 , 2\nb,x,2,3",
        b",run,g,c,p,\n0,NA,x,1,2,\n1,b,x,2,3,\n",
    ],
)
def test_forms_that_mean_the_same_are_read_as_the_same(tmp_path, content):
    file = tmp_path / "runs.csv"
    file.write_bytes(content)
    table = {"file": str(file), "run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    (runs,) = read_runs_tables(CriteriaParams.model_validate({"runs_tables": {"t": table}}))
    assert (runs.names, set(runs.groups.values())) == (["NA", "b"], {"x"})
    assert list(runs.criteria.values()) == [{"NA": 1.0, "b": 2.0}]
    assert runs.performances == {"p": {"NA": 2.0, "b": 3.0}}


def test_two_runs_have_no_correlation_and_a_reason(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("run,g,c,p\na,x,1,2\nb,x,2,3\n", encoding="utf-8")
    table = {"file": str(file), "run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    params = ModelSelectionParams.model_validate(
        {"criteria": {"runs_tables": {"t": table}, "n_bootstrap": 9}}
    )
    nothing = pd.DataFrame(columns=["stimulus_set", "model", "space", "measure", "value"])
    settings = pd.DataFrame(columns=["model", "setting", "value"])
    criteria, regret = judge_criteria(nothing, PROBE_RESULTS.frame([]), settings, params)
    assert criteria[["pearson", "spearman", "kendall"]].isna().all(axis=None)
    assert set(criteria["reason"]) == {"fewer than 3 runs have both values"}
    assert regret.empty


def test_a_table_that_cannot_be_read_is_found_before_anything_runs(tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("run,g,c,p\na,x,1,2\n", encoding="utf-8")
    bad.write_text("run;g;c;p\na;x;1;2\n", encoding="utf-8")
    columns = {"run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    tables = {"good": {"file": str(good), **columns}, "bad": {"file": str(bad), **columns}}
    parameters = {"model_selection": {"criteria": {"runs_tables": tables}}}
    ((keys, why),) = _refused_runs(parameters, {"model_selection"})
    assert keys == ("model_selection", "criteria", "runs_tables", "bad")
    assert "has ';' between columns" in why
    assert not list(_refused_runs(parameters, {"training"}))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"study": {}}, "'study' is the name of the networks trained here"),
        ({"t": {"performances": ["c"]}}, r"columns are listed twice: \['c'\]"),
        ({"t": {"settings": ["lr", "lr"]}}, r"columns are listed twice: \['lr'\]"),
    ],
)
def test_names_that_mean_two_things_are_refused(tmp_path, tables, message):
    file = tmp_path / "runs.csv"
    file.touch()
    table = {"file": str(file), "run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    with pytest.raises(ValidationError, match=message):
        CriteriaParams.model_validate({"runs_tables": {n: table | each for n, each in tables.items()}})

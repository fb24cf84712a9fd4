"""Tables of runs that were made elsewhere: what is refused, so that no number is read from a wrong column."""

import pytest

from rep_kedro.analyses.selection.params import CriteriaParams
from rep_kedro.analyses.selection.runs import read_runs_tables
from rep_kedro.errors import UserError


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
        (b"run,g,c,p\na,a,1,2\nb,a,1,-inf\n", "column 'p' has '-inf' for 'b', not a finite number; leave"),
        (b"run,g,c,p\na,a,x,2\n", "column 'c' has 'x' for 'a', not a finite number; leave"),
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


def test_a_mark_of_byte_order_is_no_part_of_the_header_and_names_are_texts(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_bytes("\ufeffrun,g,c,p\n01,a,1,2\n1,a,,3\n".encode())
    table = {"file": str(file), "run": "run", "group": "g", "criteria": ["c"], "performances": ["p"]}
    (runs,) = read_runs_tables(CriteriaParams.model_validate({"runs_tables": {"t": table}}))
    assert runs.names == ["01", "1"]
    assert runs.performances == {"p": {"01": 2.0, "1": 3.0}}
    assert [list(values.values()) for values in runs.criteria.values()] == [[1.0]]

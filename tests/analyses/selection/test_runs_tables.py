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

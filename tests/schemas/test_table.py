"""A declared table: frames that are exactly so, and a contract that finds what is not."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from rep_kedro.datasets.validators import TableContract
from rep_kedro.schemas import TABLES, get_table
from rep_kedro.schemas.columns import (
    REASON,
    WITH_REASON,
    correlation,
    count,
    flag,
    fraction,
    integer,
    text,
)
from rep_kedro.schemas.probing import PREDICTION_AGREEMENT
from rep_kedro.schemas.table import Table

CARDS = Table(
    "cards",
    "One row for each network.",
    key=("model",),
    columns=(
        text("model", "name"),
        count("n_layers", "layers"),
        integer("seed", "seed", missing="unknown"),
        fraction("accuracy", "accuracy", missing="no head"),
        flag("is_final", "whether"),
    ),
    empty_when="there are no networks",
)
ROW = {"model": "a", "n_layers": 3, "seed": 1, "accuracy": 0.5, "is_final": True}


def test_a_frame_has_the_declared_columns_and_types_whatever_the_rows_leave_out() -> None:
    types = ["str", "int64", "Int64", "float64", "bool"]
    short = {name: value for name, value in ROW.items() if name not in ("seed", "accuracy")}
    for rows in ([], [ROW], [short], [short, ROW], [ROW | {"accuracy": 1, "seed": None}]):
        frame = CARDS.frame(rows)
        assert tuple(frame.columns) == CARDS.names
        assert [str(dtype) for dtype in frame.dtypes] == types
        assert len(frame) == len(rows)
    assert CARDS.frame([short])["seed"].isna().all()
    pd.testing.assert_frame_equal(CARDS.frame(pd.DataFrame([ROW])[list(ROW)[::-1]]), CARDS.frame([ROW]))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (ROW | {"acuracy": 0.5}, "columns without declaration: acuracy; without value: none"),
        ({"model": "a"}, "without value: n_layers, is_final"),
        (ROW | {"n_layers": 2.5}, r"column n_layers \(integer\): cannot safely cast"),
        (ROW | {"n_layers": None}, "column n_layers .*1 values are missing"),
        (ROW | {"seed": "1"}, "column seed .*values are string"),
        (ROW | {"model": 7}, "column model .*values are integer"),
        (ROW | {"accuracy": True}, "column accuracy .*values are boolean"),
        (ROW | {"is_final": 1}, "column is_final .*values are integer"),
    ],
)
def test_a_frame_rounds_converts_and_drops_nothing(row: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        CARDS.frame([row])


def test_a_declaration_that_contradicts_itself_is_refused() -> None:
    model = text("model", "name")
    with pytest.raises(ValueError, match=r"repeated columns \['model'\]"):
        Table("x", "y", key=("model",), columns=(model, model))
    with pytest.raises(ValueError, match=r"key without column \['layer'\]"):
        Table("x", "y", key=("layer",), columns=(model,))
    with pytest.raises(ValueError, match="no column 'reason' to explain"):
        Table("x", "y", key=("model",), columns=(model, fraction("p", "p", missing=WITH_REASON)))
    Table("x", "y", key=("model",), columns=(model, fraction("p", "p", missing=WITH_REASON), REASON))


def _pairs(**changes: object) -> pd.DataFrame:
    """Return two rows of prediction_agreement that keep the contract, with changes."""
    numbers = {c.name: 0.5 for c in PREDICTION_AGREEMENT.columns if c.kind == "number"}
    words = {c.name: "a" for c in PREDICTION_AGREEMENT.columns if c.kind == "text"}
    rows = pd.DataFrame([{"n_test": 9, **numbers, **words, "model_b": b, "reason": ""} for b in "bc"])
    return rows[list(PREDICTION_AGREEMENT.names)].assign(**changes)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (_pairs(model_b="b"), "2 rows share a key, e.g. "),
        (_pairs().drop(columns="n_test"), "columns are missing: n_test"),
        (_pairs(n_tests=1), "columns are not declared: n_tests"),
        (_pairs(accuracy_a=[0.5, 1.5]), "accuracy_a has 1 values outside 0 to 1, e.g. 1.5"),
        (_pairs(error_consistency=-1.01), "error_consistency has 2 values outside -1 to 1"),
        (_pairs(accuracy_a=[0.5, np.nan]), "accuracy_a has 1 missing values$"),
        (_pairs(jensen_shannon=[0.5, np.nan]), "jensen_shannon has 1 missing values without a reason"),
        (_pairs(n_test=[1.5, 2]), "n_test is not integer in 1 rows, e.g. 1.5"),
        (_pairs(n_test=-1), "n_test has 2 values outside 0 or more"),
        (_pairs(disagreement=np.inf), "disagreement is not number in 2 rows"),
        (_pairs(objective_a=3), "objective_a is not text in 2 rows"),
    ],
)
def test_a_contract_names_what_breaks_it(table: pd.DataFrame, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        TableContract("prediction_agreement").validate(table)


def test_a_contract_allows_rounding_reasons_and_the_emptiness_that_is_declared() -> None:
    contract = TableContract("prediction_agreement")
    for table in (
        _pairs(error_consistency=1 + 1e-12),
        _pairs(jensen_shannon=np.nan, reason="why"),
        _pairs().iloc[:0],
    ):
        assert contract.validate(table) is table
    with pytest.raises(ValueError, match="the table has no rows"):
        TableContract("model_cards").validate(get_table("model_cards").frame([]))
    [test_is] = (column for column in get_table("stimulus_cards").columns if column.name == "test_is")
    assert test_is.range_in_words == "`test`, `val`, `drawn`"
    row = {"stimulus_set": "s", "measure": "m", "method": "umap", "model": "a", "reason": "why"}
    positions = get_table("model_positions").frame([row])
    with pytest.raises(ValueError, match=r"outside `tsne`, `mds`, e\.g\. umap"):
        TableContract("model_positions").validate(positions)


def test_a_wrong_name_of_a_table_is_met_with_names_like_it() -> None:
    with pytest.raises(ValueError, match="unknown table 'similarites'; did you mean 'similarities'"):
        TableContract("similarites")
    assert all(get_table(name) is table for name, table in TABLES.items())


def test_declarations_are_read_without_heavy_libraries() -> None:
    program = "import sys, rep_kedro.schemas; print({'pandas', 'pyarrow', 'torch', 'numpy'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_a_correlation_is_from_minus_one_to_one_in_words() -> None:
    assert correlation("r", "r").range_in_words == "-1 to 1"
    assert text("t", "t").range_in_words == ""

"""``kedro tables``: docs/tables.md written from the declarations in ``rep_kedro.schemas``."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from rep_kedro.commands.command import ProjectCommand
from rep_kedro.schemas import BY_TOPIC
from rep_kedro.schemas.columns import Column
from rep_kedro.schemas.table import Table

_PAGE = Path("docs", "tables.md")
_HEAD = """# Tables

<!-- Written by `kedro tables` from src/rep_kedro/schemas; `make check` compares the two. Do not edit. -->

Each table is one Parquet file. A column that is not declared here is an error, as is a value of another type,
out of range, or missing where none may be. Numbers are float64, integers int64 (nullable where values
may be missing).
"""


@click.command(name="tables", cls=ProjectCommand)
@click.option("--check", is_flag=True, help="Change nothing; fail if the page differs from the declarations.")
def command(check: bool) -> None:
    """Write docs/tables.md, which lists the columns of every table, from their declarations."""
    wanted = render_tables()
    current = _PAGE.read_text(encoding="utf-8") if _PAGE.exists() else ""
    if wanted == current:
        click.echo(f"{_PAGE} agrees with the declared tables")
    elif check:
        click.echo(f"error: {_PAGE} differs from the declared tables; run `kedro tables`", err=True)
        sys.exit(1)
    else:
        _PAGE.write_text(wanted, encoding="utf-8")
        click.echo(f"wrote {_PAGE}")


def render_tables() -> str:
    """Return the text of docs/tables.md."""
    lines = [_HEAD]
    for topic, tables in BY_TOPIC.items():
        lines.append(f"## {topic}\n")
        for table in tables:
            lines += _lines_of(table)
    return "\n".join(lines).rstrip("\n") + "\n"


def _lines_of(table: Table) -> Iterator[str]:
    empty = f" No rows if {table.empty_when}." if table.empty_when else ""
    yield f"### `{table.name}`\n"
    yield f"{table.meaning} Key: {', '.join(f'`{name}`' for name in table.key)}.{empty}\n"
    yield "| column | type | values | meaning | missing if |"
    yield "|---|---|---|---|---|"
    yield from map(_row_of, table.columns)
    yield ""


def _row_of(column: Column) -> str:
    cells = (f"`{column.name}`", column.kind, column.range_in_words, column.meaning, column.missing)
    return f"| {' | '.join(cells)} |"

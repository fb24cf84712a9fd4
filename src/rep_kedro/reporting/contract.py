"""The columns of the tables that the report reads."""

from collections.abc import Mapping

from rep_kedro.schemas import TABLES

COLUMNS: Mapping[str, tuple[str, ...]] = {name: table.names for name, table in TABLES.items()}

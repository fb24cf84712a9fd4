"""The project as commands see it: its catalog and its pipelines."""

from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession


def open_catalog(env: str | None = None) -> Any:
    """Return the project's data catalog, nothing loaded."""
    return _context(env).catalog


def catalog_config(env: str) -> dict[str, Any]:
    """Return the catalog's configuration, resolved, by entry."""
    return dict(_context(env).config_loader["catalog"])


def _context(env: str | None) -> Any:
    session: Any = KedroSession.create(project_path=Path.cwd(), env=env)
    return session.load_context()

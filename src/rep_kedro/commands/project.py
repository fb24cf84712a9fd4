"""The project as commands see it: its catalog and its pipelines."""

from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession


def open_catalog(env: str | None = None) -> Any:
    """Return the project's data catalog, nothing loaded."""
    return _context(env).catalog


def catalog_config(env: str | None, conf_source: str | None = None) -> dict[str, Any]:
    """Return the catalog's configuration, resolved, by entry."""
    return dict(_context(env, conf_source).config_loader["catalog"])


def collection_names(env: str | None, conf_source: str | None = None) -> set[str]:
    """Return the catalog's entries that are collections."""
    return {name for name, entry in catalog_config(env, conf_source).items() if "member" in entry}


def _context(env: str | None, conf_source: str | None = None) -> Any:
    session: Any = KedroSession.create(project_path=Path.cwd(), env=env, conf_source=conf_source)
    return session.load_context()

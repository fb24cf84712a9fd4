"""The project's context, for commands that read parameters and catalog."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def open_context(
    env: str | None, given: Mapping[str, Any] | None = None, conf_source: str | None = None
) -> Any:
    """Return the context of the project in this folder, its configuration checked, nothing loaded.

    Args:
        env: Configuration environment.
        given: Parameters of the command line.
        conf_source: Folder of the configuration, if not the project's own.
    """
    from kedro.framework.session import KedroSession

    session: Any = KedroSession.create(
        project_path=Path.cwd(), env=env, conf_source=conf_source, runtime_params=dict(given or {})
    )
    return session.load_context()

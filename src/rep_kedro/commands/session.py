"""The project's context, for commands that read parameters and catalog."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


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


def require_names(
    context: Any, given: Mapping[str, Any], selection: "Pipeline", *, may_lack_files: bool = False
) -> None:
    """Refuse names and networks that a run of these nodes would trip over, as the run does before it begins.

    Raises:
        ValueError: If a name is unknown, or a network cannot be read by its entry; a line for each.
    """
    from rep_kedro.checks.readable import require_readable_networks
    from rep_kedro.checks.study_names import require_known_names

    loader = context.config_loader
    require_known_names(loader["parameters"], given, selection, loader, context.catalog)
    require_readable_networks(loader["parameters"], given, selection, loader, may_lack_files=may_lack_files)

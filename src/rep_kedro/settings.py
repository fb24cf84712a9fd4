"""Project settings read by Kedro."""

from rep_kedro.interrupts import answer_early

answer_early()  # before anything else is imported, for that takes a while

from rep_kedro.checks.config_loader import BoundedConfigLoader  # noqa: E402
from rep_kedro.hooks import ProjectHooks  # noqa: E402

HOOKS = (ProjectHooks(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
CONFIG_LOADER_CLASS = BoundedConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},  # so that three lines in conf/local add to conf/base
}

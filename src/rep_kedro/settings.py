"""Project settings read by Kedro."""

from rep_kedro.interrupts import explain_early_interrupts

explain_early_interrupts()  # before anything else is imported, for that takes a while

from rep_kedro.hooks import ProjectHooks  # noqa: E402

HOOKS = (ProjectHooks(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},  # so that three lines in conf/local add to conf/base
}

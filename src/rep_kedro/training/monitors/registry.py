"""All monitors by name."""

from collections.abc import Mapping
from typing import Any

from rep_kedro.errors import UserError, suggest
from rep_kedro.training.monitors.collapse import CollapseSettings
from rep_kedro.training.monitors.protocol import MonitorSettings
from rep_kedro.training.monitors.saturation import SaturationSettings

MONITORS: dict[str, type[MonitorSettings]] = {
    each.id: each for each in (CollapseSettings, SaturationSettings)
}


def make_monitors(wanted: Mapping[str, Mapping[str, Any]]) -> tuple[MonitorSettings, ...]:
    """Return the settings of the monitors with these names, in the order of names.

    Raises:
        ValueError: If a name or a setting is unknown, or a value is not allowed.
    """
    for name in wanted:
        if name not in MONITORS:
            raise UserError(f"unknown monitor {name!r}; {suggest(name, MONITORS)}")
        for key in wanted[name]:
            if key not in MONITORS[name].model_fields:
                known = MONITORS[name].model_fields
                raise UserError(f"unknown key {key!r} of monitor {name!r}; {suggest(key, known)}")
    return tuple(MONITORS[name].model_validate(dict(wanted[name])) for name in sorted(wanted))

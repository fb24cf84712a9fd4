"""Nodes for saturation over a training: whose spectra are kept, and the table of their measures."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets import Batch, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import require_known
from rep_kedro.schemas.training import SATURATION_HISTORY
from rep_kedro.training.params import TrainingParams
from rep_kedro.training.spec import SNAPSHOT_MARK

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_MONITOR = "saturation"
_log = logging.getLogger(__name__)


def plan_training_spectra(
    stimulus_sets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    training: TrainingParams,
) -> Plan:
    """Plan the spectra of each network whose grid has the monitor `saturation`.

    A network that was trained with it has spectra of both modes after each epoch. One that was trained before
    is not trained again: its weights, and those of its snapshots after whole epochs, give the spectra of
    evaluation mode.

    Args:
        stimulus_sets: Handles by name; images are read only for networks trained without the monitor.
        networks: Handles by name.
        training: Which networks are watched, and how.

    Returns:
        Plan by network; empty if no grid has the monitor.
    """
    from rep_kedro.analyses.saturation.spectra import Stored, copy_watched, evaluate_stored, was_watched
    from rep_kedro.training.monitors.saturation import SaturationSettings

    plan = Plan()
    wanted = {
        name: SaturationSettings.model_validate(spec.monitors[_MONITOR])
        for name, spec in training.networks().items()
        if _MONITOR in spec.monitors and spec.moment is None
    }
    unwatched: dict[str, Stored] = {}
    places: dict[str, Any] = {"device": training.device, "memory_bytes": training.memory_bytes}
    batch = Batch(lambda names: evaluate_stored(unwatched, names, **places))
    for name, settings in wanted.items():
        if name in missing_of(networks):
            plan.left_out[name] = f"networks/{name} is missing"
            continue
        handle = networks[name]
        recipe: dict[str, Any] = {"network": handle.reference, "reading": settings.reading()}
        if was_watched(handle, settings):
            recipe |= {"is_watched": True}
            plan[name] = Planned(recipe, partial(copy_watched, handle, settings))
            continue
        trained_on = handle.meta["stimulus_set"]
        if trained_on in missing_of(stimulus_sets):
            plan.left_out[name] = f"stimulus_sets/{trained_on} is missing"
            continue
        require_known("stimulus set", trained_on, stimulus_sets)
        moments = _moments_of(name, networks)
        unwatched[name] = Stored(moments, settings, stimulus_sets[trained_on])
        recipe |= {
            "is_watched": False,
            "snapshots": [moment.reference for moment in moments[:-1]],
            "stimulus_set": stimulus_sets[trained_on].reference,
            "code": code_revision("rep_kedro.analyses.saturation.spectra"),
        }
        plan[name] = Planned(recipe, batch)
    if unwatched:
        _log.info(
            "%d networks were trained without these settings of the monitor 'saturation': their spectra are"
            " of evaluation mode, of snapshots and the last epoch; for all, train again (recompute=networks)",
            len(unwatched),
        )
    return plan


def _moments_of(name: str, networks: Mapping[str, TensorsHandle]) -> tuple[TensorsHandle, ...]:
    """Return the snapshots of a network after whole epochs, in their order, and the network."""
    from rep_kedro.analyses.saturation.spectra import epoch_of

    prefix, last = f"{name}{SNAPSHOT_MARK}epoch", epoch_of(networks[name])
    snapshots = {epoch_of(handle): handle for key, handle in networks.items() if key.startswith(prefix)}
    return (*(snapshots[epoch] for epoch in sorted(snapshots) if epoch < last), networks[name])


def tabulate_saturation_history(
    training_spectra: Mapping[str, TensorsHandle], params: DiagnosticsParams
) -> DataFrame:
    """List saturation and other dimensions of every watched layer, epoch and mode.

    Args:
        training_spectra: Handles by network.
        params: Shares of variance.

    Returns:
        Columns as in docs/tables.md, rows of both counting rules.
    """
    from rep_kedro.analyses.saturation.history import list_history

    rows = [
        row
        for name in sorted(training_spectra)
        for row in list_history(training_spectra[name], params.deltas)
    ]
    return SATURATION_HISTORY.frame(rows)

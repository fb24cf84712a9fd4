"""Several monitors as one: what the loop calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.training.monitors.protocol import Monitor, MonitorSettings, Seen, Step, Training
from rep_kedro.training.stimuli import Split

_SEPARATOR = "/"


class Watching:
    """The monitors of one training; without any, a step costs nothing more.

    Args:
        settings: Of the monitors.
        training: What they look at.
    """

    def __init__(self, settings: Sequence[MonitorSettings], training: Training) -> None:
        self._monitors: dict[str, Monitor] = {each.id: each.watch(training) for each in settings}
        self._calls: list[tuple[Tensor, Tensor]] = []
        self._hook = training.projector.register_forward_hook(self._note_call) if self._monitors else None

    def before_step(self, step: Step) -> None:
        """Announce a step."""
        self._calls.clear()
        for monitor in self._monitors.values():
            monitor.before_step(step)

    def after_step(self, step: Step, losses: Mapping[str, Tensor]) -> None:
        """Announce the end of a step, with what the projector saw and returned since `before_step`."""
        if not self._monitors:
            return
        seen = Seen(
            {part: value.detach() for part, value in losses.items()},
            tuple(representation for representation, _ in self._calls),
            tuple(embedding for _, embedding in self._calls),
        )
        self._calls.clear()
        for monitor in self._monitors.values():
            monitor.after_step(step, seen)

    def before_evaluation(self, epoch: int, split: Split) -> None:
        """Announce an evaluation."""
        for monitor in self._monitors.values():
            monitor.before_evaluation(epoch, split)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Return the metrics of all monitors.

        Raises:
            ValueError: If two monitors give one metric.
        """
        self._calls.clear()
        found: dict[str, float] = {}
        for name, monitor in self._monitors.items():
            metrics = monitor.end_epoch(epoch)
            if twice := sorted(found.keys() & metrics.keys()):
                raise UserError(
                    f"monitor {name!r} gives metric {twice[0]!r}, which another monitor gives too"
                )
            found |= metrics
        return found

    def reason_to_end(self) -> str | None:
        """Return why the training should end, with the monitor's name; None if no monitor asks for it."""
        reasons = (
            f"{name}: {each.reason_to_end}" for name, each in self._monitors.items() if each.reason_to_end
        )
        return next(reasons, None)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of all monitors as `<id>/<name>`."""
        return _joined({name: monitor.tensors() for name, monitor in self._monitors.items()})

    def meta(self) -> dict[str, Any]:
        """Return the meta of the monitors by id."""
        return {name: meta for name, monitor in self._monitors.items() if (meta := monitor.meta())}

    def state(self) -> dict[str, Tensor]:
        """Return the states of all monitors as `<id>/<name>`."""
        return _joined({name: monitor.state() for name, monitor in self._monitors.items()})

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Give each monitor its part."""
        for name, monitor in self._monitors.items():
            prefix = f"{name}{_SEPARATOR}"
            monitor.load_state(
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            )

    def close(self) -> None:
        """Remove all hooks."""
        if self._hook is not None:
            self._hook.remove()
        for monitor in self._monitors.values():
            monitor.close()

    def _note_call(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training:
            self._calls.append((inputs[0].detach().float(), output.detach().float()))


def _joined(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}{_SEPARATOR}{key}": value for name, part in parts.items() for key, value in part.items()}

"""Collapse: ranks, spread and contrast of the newest rows, and an alarm when they say that all is lost.

The rows of the last steps of each epoch are kept in a queue and measured at its end. RankMe alone misses a
collapse: behind batch norm the embeddings of a network whose outputs are all but equal have full rank.
"""

import logging
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.kernels.layers.view_scatter import measure_lidar
from rep_kedro.kernels.training.spread import (
    measure_contrast,
    measure_dead_fraction,
    measure_rankme,
)
from rep_kedro.training.monitors.protocol import Monitor, MonitorSettings, Seen, Step, Training

if TYPE_CHECKING:
    from rep_kedro.training.objectives.protocol import Objective

LARGEST_QUEUE = 4096
HIGHEST_VARIANCE = 0.99
"""Of VICReg's variance term: 1 less the root of its floor, 1e-4."""
_TOPS = (1, 5)
_log = logging.getLogger(__name__)


class CollapseSettings(MonitorSettings):
    """Ranks, spread and contrast of the newest rows after each epoch.

    Attributes:
        n_rows: Rows of the queue; those of the epoch's last steps.
        lidar: Whether LiDAR of the embeddings is measured, for objectives with two views.
        on_collapse: What an alarm does: `warn` logs the first, `stop` ends the training too.
        variance_fraction: Alarm above this share of the highest variance term, for objectives that have one.
        lowest_rank: Alarm below this RankMe of the representations.
    """

    id: ClassVar[str] = "collapse"
    source: ClassVar[str] = (
        "Garrido et al. 2023, arXiv:2210.02885 (RankMe); Thilak et al. 2024, arXiv:2312.04000 (LiDAR);"
        " Bardes et al. 2022, arXiv:2105.04906, equation 1 (variance term)"
    )

    n_rows: int = Field(default=2048, ge=16, le=LARGEST_QUEUE)
    lidar: bool = False
    on_collapse: Literal["warn", "stop"] = "warn"
    variance_fraction: float = Field(default=0.98, gt=0, le=1)
    lowest_rank: float = Field(default=3.0, ge=0)

    def require_objective(self, objective: "Objective") -> None:
        """Refuse class logits, whose rank says nothing, and LiDAR where there is one view of each image."""
        if objective.has_head:
            raise UserError(
                f"monitor 'collapse' watches embeddings, but objective {objective.id!r} has class logits;"
                " take the monitor from its grid"
            )
        if self.lidar and objective.n_views == 1:
            raise UserError(
                f"monitor 'collapse': lidar compares two views of an image, but objective {objective.id!r}"
                " draws one; set lidar: false"
            )

    def watch(self, training: Training) -> Monitor:
        """Return a monitor with an empty queue."""
        return _Watch(self, training)


class _Watch(Monitor):
    def __init__(self, settings: CollapseSettings, training: Training) -> None:
        self._settings, self._name, self._n_images = settings, training.name, training.batch_size
        self._queue: deque[dict[str, Tensor]] = deque()
        self._alarms: list[tuple[float, float, float]] = []  # epoch, variance term, rank

    def after_step(self, step: Step, seen: Seen) -> None:
        """Keep the rows of a step if they are among the last of its epoch."""
        if not seen.embeddings:
            return
        rows_per_step = len(seen.embeddings[0])
        n_kept = max(1, self._settings.n_rows // rows_per_step)
        if step.index < step.n_steps - n_kept:
            return
        kept = {"embedding": seen.embeddings[0], "representation": seen.representations[0].flatten(1)}
        if "variance" in seen.losses:
            kept["variance"] = seen.losses["variance"][None]
        self._queue.append(kept)
        while len(self._queue) > n_kept:
            self._queue.popleft()

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Measure what is in the queue, and empty it."""
        if not self._queue:
            return {}
        found = {}
        for place in ("embedding", "representation"):
            rows = torch.cat([kept[place] for kept in self._queue])
            found[f"queue_{place}_rankme"] = measure_rankme(rows)
            found[f"queue_{place}_std"] = rows.std(dim=0).mean().item()
            found[f"queue_{place}_dead"] = measure_dead_fraction(rows)
        found |= self._compare_views()
        self._look_for_collapse(epoch, found["queue_representation_rankme"])
        found["collapse_alarm"] = float(bool(self._alarms) and self._alarms[-1][0] == epoch)
        self._queue.clear()
        return found

    def _compare_views(self) -> dict[str, float]:
        """Return how two views of an image compare with those of others; nothing where there is one view."""
        steps = [kept["embedding"] for kept in self._queue]
        if any(len(rows) != 2 * self._n_images for rows in steps):
            return {}
        pairs = [rows.chunk(2) for rows in steps]
        shares = [measure_contrast(first, second, tops=_TOPS) for first, second in pairs]
        found = {
            f"contrastive_top{top}": sum(each) / len(pairs)
            for top, each in zip(_TOPS, zip(*shares, strict=True), strict=True)
        }
        if self._settings.lidar:
            views = torch.cat([torch.stack(pair, dim=1) for pair in pairs])
            found["queue_lidar"] = measure_lidar(views).value
        return found

    def _look_for_collapse(self, epoch: int, rank: float) -> None:
        settings = self._settings
        terms = [kept["variance"] for kept in self._queue if "variance" in kept]
        variance = torch.cat(terms).double().mean().item() if terms else 0.0
        too_flat = variance > settings.variance_fraction * HIGHEST_VARIANCE
        if not (too_flat or not rank >= settings.lowest_rank):
            return
        reason = self._describe(variance, rank)
        if not self._alarms:
            _log.warning("network %r may have collapsed in epoch %d: %s", self._name, epoch, reason)
        self._alarms.append((float(epoch), variance, rank))
        if settings.on_collapse == "stop":
            self.reason_to_end = reason

    def _describe(self, variance: float, rank: float) -> str:
        """Return what an alarm is about."""
        limit = self._settings.variance_fraction * HIGHEST_VARIANCE
        parts = []
        if variance > limit:
            parts.append(f"variance term {variance:.4f} is above {limit:.4f}, of at most {HIGHEST_VARIANCE}")
        if not rank >= self._settings.lowest_rank:
            parts.append(f"RankMe of the representations {rank:.3g} is below {self._settings.lowest_rank:g}")
        return "; ".join(parts)

    def meta(self) -> dict[str, Any]:
        """Return epoch and reason of each alarm."""
        alarms = [
            {"epoch": int(epoch), "reason": self._describe(variance, rank)}
            for epoch, variance, rank in self._alarms
        ]
        return {"alarms": alarms}

    def state(self) -> dict[str, Tensor]:
        """Return queue and alarms."""
        found = {"alarms": torch.tensor(self._alarms, dtype=torch.float64).reshape(-1, 3)}
        for index, kept in enumerate(self._queue):
            found |= {f"{index}/{name}": value.clone() for name, value in kept.items()}
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a stored queue."""
        self._alarms = [(each[0], each[1], each[2]) for each in state["alarms"].tolist()]
        steps: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            index, _, name = key.partition("/")
            if name:
                steps.setdefault(int(index), {})[name] = value
        self._queue = deque(steps[index] for index in sorted(steps))

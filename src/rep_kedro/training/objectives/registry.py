"""All training objectives by name."""

from collections.abc import Mapping
from typing import Any

from rep_kedro.errors import UserError, suggest
from rep_kedro.training.objectives.autoencoder import Autoencoder
from rep_kedro.training.objectives.barlow_twins import BarlowTwins
from rep_kedro.training.objectives.byol import BYOL
from rep_kedro.training.objectives.dino import DINO
from rep_kedro.training.objectives.protocol import Objective
from rep_kedro.training.objectives.simclr import SimCLR
from rep_kedro.training.objectives.supervised import Supervised
from rep_kedro.training.objectives.untrained import Untrained
from rep_kedro.training.objectives.vicreg import VICReg
from rep_kedro.training.objectives.vicreg_ctr import VICRegCtr
from rep_kedro.training.objectives.vicreg_exp import VICRegExp

OBJECTIVES: dict[str, type[Objective]] = {
    "supervised": Supervised,
    "simclr": SimCLR,
    "vicreg": VICReg,
    "vicreg_exp": VICRegExp,
    "vicreg_ctr": VICRegCtr,
    "barlow_twins": BarlowTwins,
    "byol": BYOL,
    "dino": DINO,
    "autoencoder": Autoencoder,
    "untrained": Untrained,
}


def make_objective(name: str, options: Mapping[str, Any]) -> Objective:
    """Return the objective called `name` with these settings.

    Raises:
        ValueError: If the name or an option is unknown, or a value is not allowed.
    """
    if name not in OBJECTIVES:
        raise UserError(f"unknown objective {name!r}; {suggest(name, OBJECTIVES)}")
    return OBJECTIVES[name].model_validate(dict(options))

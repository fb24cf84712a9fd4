"""Parameters of projections, part of those of the diagnostics pipeline."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from rep_kedro.parameter_model import Parameters

Share = Annotated[float, Field(gt=0, le=1)]
Scope = Literal["each", "all"]
Kind = Literal["leading", "random"]
Rule = Literal["reach", "delve"]


class ProjectionParams(Parameters):
    """Which networks are projected, where, and onto what.

    Attributes:
        models: Networks trained here, or entries of `features.models`, with a head; none by default.
        stimulus_sets: Sets with labels whose classes are the network's; `own`: what each was trained on.
        subset: Of each set; null for all of its stimuli.
        layers: Names or glob patterns among convolutions and linear layers, but the last, which is the head.
        scopes: `each` layer alone, `all` of them at once.
        directions: `leading` ones of the covariance, or `random` ones as a control.
        centred: Project around the mean. Otherwise leading directions are those of the second moment, and the
            projection is around zero, as in the published experiments.
        deltas: Shares of variance that the kept directions must carry.
        rules: How they are counted, see `diagnostics.rule`.
        n_fit: The most training stimuli for the covariance, drawn at random; null for all.
        n_test: The most test stimuli; null for all.
        seed: Of stimuli and random directions.
        batch_size: Images at a time, fewer where `memory_bytes` does not suffice; part of no recipe.
        memory_bytes: For what the layers give for one batch; part of no recipe.
        device: Where networks run; part of no recipe.
    """

    models: list[str] = []
    stimulus_sets: Literal["own"] | list[str] = "own"
    subset: str | None = None
    layers: tuple[str, ...] = Field(default=("**",), min_length=1)
    scopes: tuple[Scope, ...] = Field(default=("each", "all"), min_length=1)
    directions: tuple[Kind, ...] = Field(default=("leading", "random"), min_length=1)
    centred: bool = True
    deltas: tuple[Share, ...] = Field(default=(0.9, 0.99, 0.999), min_length=1)
    rules: tuple[Rule, ...] = Field(default=("reach",), min_length=1)
    n_fit: PositiveInt | None = 2000
    n_test: PositiveInt | None = None
    seed: NonNegativeInt = 0
    batch_size: PositiveInt = 100
    memory_bytes: PositiveInt = 2**30
    device: str = "cpu"

    def recipe(self) -> dict[str, object]:
        """Return what results depend on, as plain JSON."""
        apart = {"models", "stimulus_sets", "subset", "batch_size", "memory_bytes", "device"}
        return self.model_dump(mode="json", exclude=apart)

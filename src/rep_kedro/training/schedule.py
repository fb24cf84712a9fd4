"""Length and learning rate of training."""

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from rep_kedro.parameter_model import PlainNumbers


class Schedule(PlainNumbers, BaseModel):
    """How long and how fast a network learns.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step; a last, smaller batch is left out (it differs with every epoch's order).
        learning_rate: Highest rate, reached after the warm-up; falls to zero on a cosine.
        weight_decay: Of weights; biases and batch norms are never decayed.
        warmup_fraction: Share of the steps over which the rate rises linearly.
        optimizer: `adamw` (decoupled decay) or `sgd` (Nesterov).
        momentum: Of sgd.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: PositiveInt
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    optimizer: str = Field(default="adamw", pattern="^(adamw|sgd)$")
    momentum: float = Field(default=0.9, ge=0, lt=1)

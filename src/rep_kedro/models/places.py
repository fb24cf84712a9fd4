"""Where files of networks are, and which of their tensors are read."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_model import Parameters


class FilePlace(Parameters):
    """Where a file is: here, or at an address from which it is fetched once.

    Attributes:
        path: A local file; `~` and environment variables, such as `$MY_WEIGHTS`, are filled in.
        url: Address to fetch it from, http or https; needs `sha256`.
        sha256: Digest that the file must have, 64 hexadecimal digits; a file of another is never read.
    """

    path: str | None = None
    url: str | None = Field(default=None, pattern=r"^https?://\S+/[^/?#\s]+$")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _require_one_place(self) -> Self:
        if self.path is not None and not self.path.strip():
            raise UserError("path is empty; name a file")
        if (self.path is None) == (self.url is None):
            raise UserError("set either path or url of the file")
        if self.url is not None and self.sha256 is None:
            raise UserError(f"url {self.url} needs sha256 to identify the file")
        return self


class StatePlace(FilePlace):
    """A file of weights, and which of its tensors are the network's.

    A file is recognised by its content, not its name: `.safetensors`, or what `torch.save` writes (read
    without running any code). The tensors are found below wrappers such as `model` or `state_dict`, and
    behind prefixes such as `module.`. Where a file holds several sets of weights that fit (a network and its
    moving average, teacher and student, two encoders), `within` or `prefix` must say which.

    Attributes:
        within: Dotted path to the tensors in the file, such as `classy_state_dict.base_model` or `model_ema`.
        prefix: Cut off the names in the file, such as `module.`; found where it is not given. `""` is none.
        rename: Regular expressions and what takes the place of the first match, in this order, after the
            prefix is cut off.
        left_out: Layers, or patterns of the network's names, that the file need not hold in the network's
            shape: layers behind those read. Their weights are drawn.
        ignored: Patterns of the file's names that the network does not have.
    """

    within: str = ""
    prefix: str | None = None
    rename: dict[str, str] = {}
    left_out: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


class Alignment(FilePlace):
    """A file with an affine map of features: `((x - mean) / std) @ weights + bias`.

    Attributes:
        kind: `affine`. The file is `.npz` (read without pickle) or `.safetensors` and holds `weights`
            (n_features, n_aligned), and `mean`, `std` (each one number or one per feature) and `bias`
            (n_aligned) where they are wanted.
    """

    kind: Literal["affine"] = "affine"

"""Names of poolings and layouts, for parameters that are checked before torch is imported."""

from typing import Literal

Layout = Literal["auto", "nchw", "nhwc", "tokens", "tokens_first"]
Pooling = Literal["average", "flatten", "cls", "patch_average", "cls_and_patch_average"]

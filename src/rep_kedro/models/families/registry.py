"""All families by name. A new one is a module with a `Variant` and a line here.

They are imported when one is asked for: what is trained depends on the layers in its recipe, not on the
modules that wrote them.
"""

from importlib import import_module
from typing import Any

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.families.variant import Variant

FAMILIES = {
    "vgg": "vgg:Vgg",
    "resnet": "resnet:ResNet",
    "squeezenet": "squeezenet:SqueezeNet",
    "plain": "plain:Plain",
    "timm": "library:TimmVariant",
    "torchvision": "library:TorchvisionVariant",
    "python": "library:PythonVariant",
}
OWN_CODE = "python"
"""The family of code of the user."""


def family_modules() -> tuple[str, ...]:
    """Return the dotted names of the modules of all families."""
    return tuple(sorted({f"{__package__}.{place.partition(':')[0]}" for place in FAMILIES.values()}))


def find_family(family: str) -> type[Variant]:
    """Return what the variants of a family are.

    Raises:
        UserError: If there is no such family.
    """
    if family not in FAMILIES:
        raise UserError(f"unknown family {str(family)[:60]!r}; {suggest(family, FAMILIES)}")
    module, _, name = FAMILIES[family].partition(":")
    kind: type[Variant] = getattr(import_module(f"{__package__}.{module}"), name)
    return kind


def make_variant(family: str, content: dict[str, Any]) -> Variant:
    """Return the checked variant of a family.

    Raises:
        UserError: If the family or a key is unknown, or a value is not allowed.
    """
    kind = find_family(family)
    known = {field.alias or name for name, field in kind.model_fields.items()}
    for key in content:
        if key not in known:
            raise UserError(f"family {family} has no {str(key)[:60]!r}; {suggest(key, known)}")
    return kind.model_validate(content)

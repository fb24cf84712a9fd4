"""All families by name. A new one is a module with a `Variant` and a line here."""

from typing import Any

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.families.plain import Plain
from rep_kedro.models.families.resnet import ResNet
from rep_kedro.models.families.squeezenet import SqueezeNet
from rep_kedro.models.families.variant import Variant
from rep_kedro.models.families.vgg import Vgg

FAMILIES: dict[str, type[Variant]] = {kind.family: kind for kind in (Vgg, ResNet, SqueezeNet, Plain)}


def make_variant(family: str, content: dict[str, Any]) -> Variant:
    """Return the checked variant of a family.

    Raises:
        UserError: If the family or a key is unknown, or a value is not allowed.
    """
    if family not in FAMILIES:
        raise UserError(f"unknown family {str(family)[:60]!r}; {suggest(family, FAMILIES)}")
    kind = FAMILIES[family]
    known = {field.alias or name for name, field in kind.model_fields.items()}
    for key in content:
        if key not in known:
            raise UserError(f"family {family} has no {str(key)[:60]!r}; {suggest(key, known)}")
    return kind.model_validate(content)

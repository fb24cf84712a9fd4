"""Names from outside as people read them; nothing here takes a name apart.

Objectives, architectures and names of sets may hold any text. A pair of them is two columns in every table;
what joins the two is for the eye alone.
"""

from collections.abc import Mapping

UNKNOWN = "unknown"
Kind = tuple[str, str]
"""What the two networks of a pair are: their objectives, their architectures, the sets they come from."""

WRITTEN_NAMES: Mapping[str, str] = {
    "simclr": "SimCLR",
    "vicreg": "VICReg",
    "vicreg_exp": "VICReg-exp",
    "vicreg_ctr": "VICReg-ctr",
    "barlow_twins": "Barlow Twins",
    "byol": "BYOL",
    "dino": "DINO",
    "cnn": "CNN",
    "resnet": "ResNet",
    "small_resnet": "small ResNet",
    "self_supervised": "self-supervised",
    "image_text": "image-text",
}
JOINT = " / "
MOST_CHARACTERS = 44


def written(name: str) -> str:
    """Return an objective's or architecture's name as people write it; unknown names stay as they are.

    Example:
        >>> written("vicreg"), written("image / text")
        ('VICReg', 'image / text')
    """
    return WRITTEN_NAMES.get(str(name), str(name))


def written_kind(kind: Kind) -> str:
    """Return both names of a kind of pair; a name that holds the joint itself is quoted.

    Example:
        >>> written_kind(("simclr", "vicreg")), written_kind(("image / text", "cnn"))
        ('SimCLR / VICReg', '“image / text” / CNN')
    """
    return JOINT.join(f"“{written(name)}”" if JOINT in name else written(name) for name in kind)


def shortened(label: str, n_characters: int = 26) -> str:
    """Return a label fit for drawing: no control characters, cut in the middle when long.

    Example:
        >>> shortened("a_rather_long_name_of_a_network_s0", 16)
        'a_rather…work_s0'
    """
    clean = "".join(character if character.isprintable() else "�" for character in str(label))
    if len(clean) <= n_characters:
        return clean
    front = n_characters // 2
    return f"{clean[:front]}…{clean[len(clean) - (n_characters - front - 1) :]}"


def shortened_layer(name: str, n_characters: int = 16) -> str:
    """Return the name of a layer fit for drawing, cut in front: long names differ at their ends.

    Example:
        >>> shortened_layer("features.12.block.conv")
        '…s.12.block.conv'
    """
    whole = shortened(name, max(len(name), n_characters))
    return whole if len(whole) <= n_characters else f"…{whole[1 - n_characters :]}"


def drawn(name: str) -> str:
    """Return a name as a label of a figure: cut to length, and not hidden from legends."""
    return shortened(written(name), MOST_CHARACTERS).lstrip("_")


def drawn_kind(kind: Kind) -> str:
    """Return a kind of pair as a label of a figure."""
    return shortened(written_kind(kind), MOST_CHARACTERS).lstrip("_")

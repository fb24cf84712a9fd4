"""Where numbers were computed, as far as their bytes depend on it.

Members whose last digits depend on the machine keep this in their header under ``platform``; not part of
a recipe, so that members computed elsewhere are kept.
"""

import platform as machine
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rep_kedro.datasets.journal import package_versions
from rep_kedro.datasets.plan import Json

PLATFORM = "platform"
_LIBRARIES = ("torch", "numpy")
UNRECORDED = "a machine that is not recorded"


def describe_platform(device: str = "cpu", *, portable: bool = False) -> dict[str, Json]:
    """Return what the bytes of a tensor computed by this process depend on, beyond the recipe.

    Args:
        device: Where it computes, such as `cpu` or `cuda`.
        portable: Whether it computes the same bytes on every processor of the family; its maker is left out
            then.

    Returns:
        `machine` (such as `x86_64`), `processor` (its maker, and the name of a GPU; not where portable),
        `cpu_capability` (the instruction set that torch uses), `portable`, `versions` of the libraries.
    """
    import torch

    record: dict[str, Json] = {
        "machine": machine.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "portable": portable,
        "versions": {name: version.partition("+")[0] for name, version in _versions()},
    }
    if not portable:
        is_gpu = torch.device(device).type == "cuda"
        record["processor"] = torch.cuda.get_device_name(device) if is_gpu else _maker()
    return record


def describe_platforms(members: Iterable[Mapping[str, Json]]) -> str:
    """Say in one clause where members come from if it is more than one platform; else an empty text.

    Args:
        members: The members' meta; where none has a record, their bytes do not depend on the platform.

    Example:
        >>> record = {"machine": "x86_64", "cpu_capability": "AVX2", "versions": {"torch": "2.13.0"}}
        >>> here = {"platform": record}
        >>> describe_platforms([here, {}, here])
        '2 from x86_64 AVX2, torch 2.13.0; 1 from a machine that is not recorded'
        >>> describe_platforms([here, here])
        ''
    """
    records = [meta.get(PLATFORM) for meta in members]
    return describe_counts(map(platform_in_words, records)) if any(records) else ""


def describe_counts(platforms: Iterable[str]) -> str:
    """Return how many members come from each platform, most first; an empty text if there is one."""
    counts = Counter(platforms)
    if len(counts) < 2:
        return ""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{count} from {name}" for name, count in ordered)


def platform_in_words(record: Any) -> str:
    """Return one line about a platform, as :func:`describe_platform` gives it."""
    if not isinstance(record, Mapping):
        return UNRECORDED
    names = [str(record[name]) for name in ("machine", "processor", "cpu_capability") if record.get(name)]
    names += ["(portable arithmetic)"] if record.get("portable") else []
    versions = [f"{name} {version}" for name, version in sorted((record.get("versions") or {}).items())]
    return " ".join(names) + "".join(f", {version}" for version in versions)


def _versions() -> list[tuple[str, str]]:
    return [(name, version) for name, version in package_versions().items() if name in _LIBRARIES]


@cache
def _maker() -> str:
    """Return the vendor string of the processor, such as `AuthenticAMD`."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("vendor_id", "CPU implementer"):
                return value.strip()
    except OSError:
        pass
    return machine.processor() or "unknown"

"""Writes requirements/*.lock: every package that `make` installs, with the hashes of all its files.

    make lock

Versions come from constraints.txt, what is needed from pyproject.toml, hashes from the package index, for
every system and processor; uv finds them. `build.lock` builds packages, `packages.lock` is all but torch,
`torch.lock` is torch as the index has it, with what its CUDA build needs. `torch-cpu.lock` is its CPU build,
which is not on the index: pip takes it where PIP_FIND_LINKS names a folder with the file.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
BUILD = "setuptools>=77\n"
TORCH = re.compile(r"(torch==|(nvidia|cuda|triton)\b)")
# For Python 3.11 on Linux, x86-64.
TORCH_CPU = "2.13.0", "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
HEAD = "# Written by `make lock`. Installed with pip install --require-hashes --no-deps.\n"


def compile_lock(uv: str, requirements: list[str], more: str = "") -> list[str]:
    """Return one entry per package: name, version, marker, hashes."""
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version=3.11", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--constraints=constraints.txt", "--extra=dev"] if requirements else []
    done = subprocess.run(  # noqa: S603 - a tool of this project
        [*command, *requirements, "-"], input=more, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True
    )
    return re.split(r"(?m)^(?=[A-Za-z0-9])", done.stdout)[1:]


def main() -> None:
    """Write the four files."""
    uv = sys.argv[1]
    build = compile_lock(uv, [], BUILD)
    found = [each for each in compile_lock(uv, ["pyproject.toml"]) if not each.startswith("setuptools==")]
    version, digest = TORCH_CPU
    parts = {
        "build": build,
        "packages": [each for each in found if not TORCH.match(each)],
        "torch": [each for each in found if TORCH.match(each)],
        "torch-cpu": [f"torch=={version} --hash=sha256:{digest}\n"],
    }
    FOLDER.mkdir(exist_ok=True)
    for name, entries in parts.items():
        (FOLDER / f"{name}.lock").write_text(HEAD + "".join(entries), encoding="utf-8")


if __name__ == "__main__":
    main()

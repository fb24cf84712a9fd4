"""Whether reports of the same study contradict each other when its networks are trained from other seeds.

Copies the project, gives the grids of training other seeds, runs the study, and compares what the reports
name. A headline that names a winner in one report must not name another in the next; that one report names a
winner and another reports no clear winner is not a contradiction.

Run: python benchmarks/headlines_across_seeds.py [--base-seeds 0 100 200 300] [--folder FOLDER]
Takes a run of the study per seed, one and a half minutes each on a quiet machine.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from html import unescape
from itertools import combinations
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PARTS = ("conf", "src", "pyproject.toml", "README.md", "dvc.yaml", ".telemetry")
HEADLINES = tuple(
    map(
        re.compile,
        (
            r"By objective, (?P<name>.+) pairs are (most|least) (similar|consistent)",
            r"Networks of (?P<name>.+) are more similar",
            r"(?P<name>.+) pairs have the most errors in common",
            r"On .+?, (?P<name>.+) networks read out best",
            r"In .+? the fullest layer is (?P<name>.+) \(mean saturation\)",
            r"Of these networks, ensembles of \d+ are most accurate when chosen as “(?P<name>[^”]+)”",
        ),
    )
)
"""How the report states that something exceeds every other."""
MARK = "from every other"
"""What all these sentences end with, and no other sentence."""


def train_from(base_seed: int, folder: Path) -> str:
    """Run the study with other seeds in a folder, which keeps what is there; return the report as text."""
    ignore = shutil.ignore_patterns("local", "__pycache__")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignore, dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / part)
    base = yaml.safe_load((ROOT / "conf/base/parameters_training.yml").read_text(encoding="utf-8"))
    grids = base["training"]["grids"]
    for grid in grids:
        grid["seeds"] = [base_seed + seed for seed in grid["seeds"]]
    anchors = [f"cnn_supervised_s{base_seed}", f"cnn_simclr_s{base_seed}"]
    local = {"training": {"grids": grids}, "consistency": {"anchors": anchors}}
    (folder / "conf/local").mkdir(exist_ok=True)
    (folder / "conf/local/parameters.yml").write_text(yaml.safe_dump(local), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "OMP_NUM_THREADS": "1",
        "DO_NOT_TRACK": "1",
    }
    subprocess.run([sys.executable, "-m", "kedro", "run"], cwd=folder, env=environment, check=True)
    return text_of((folder / "data/08_reporting/report.html").read_text(encoding="utf-8"))


def text_of(page: str) -> str:
    """Return the words of a page, without its drawings and tables."""
    words = re.sub(r"<(svg|table|style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", words)).split())


def winners_of(text: str) -> dict[str, str]:
    """Return who is named for what.

    Raises:
        ValueError: If a headline is of a kind that this script does not know.
    """
    found = {}
    for sentence in re.split(r"(?<=[.?]) ", text):
        if MARK not in sentence:
            continue
        match = next((match for headline in HEADLINES if (match := headline.search(sentence))), None)
        if match is None:
            raise ValueError(f"unknown kind of headline, add it to HEADLINES: {sentence!r}")
        start, end = match.span("name")
        found[f"{sentence[match.start() : start]}...{sentence[end : match.end()]}"] = match["name"]
    return found


def find_contradictions(named: Mapping[int, Mapping[str, str]]) -> list[str]:
    """Return a line for each headline that names one winner in a report and another in a second one.

    Args:
        named: Who is named for what, by base seed.
    """
    return [
        f"{what}: {named[a][what]} from seed {a}, {named[b][what]} from seed {b}"
        for a, b in combinations(named, 2)
        for what in named[a]
        if what in named[b] and named[a][what] != named[b][what]
    ]


def main() -> int:
    """Print what each report names, and every contradiction; the exit code is 1 if there is one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-seeds", type=int, nargs="+", default=[0, 100, 200, 300])
    parser.add_argument(
        "--folder", type=Path, help="where the studies are kept; what is there is not made again"
    )
    chosen = parser.parse_args()
    kept = chosen.folder or Path(tempfile.mkdtemp(prefix="headlines_"))
    kept.mkdir(parents=True, exist_ok=True)
    named = {}
    for seed in chosen.base_seeds:
        folder = kept / f"seed_{seed}"
        folder.mkdir(exist_ok=True)
        text = train_from(seed, folder)
        named[seed] = winners_of(text)
        sys.stdout.write(f"base seed {seed}: {folder}, {text.count('is undecided')} left open\n")
        sys.stdout.writelines(f"  {what}: {name}\n" for what, name in named[seed].items())
    contradictions = find_contradictions(named)
    sys.stdout.write(f"{len(contradictions)} contradictions\n")
    sys.stdout.writelines(f"{line}\n" for line in contradictions)
    return bool(contradictions)


if __name__ == "__main__":
    sys.exit(main())

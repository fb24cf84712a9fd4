"""Noise ceilings: similarity to what networks that differ only in their seed have in common."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey
from rep_kedro.measures import get_measure
from rep_kedro.schemas.similarity import NOISE_CEILINGS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import LabelledMatrix, MatrixHandle, TensorsHandle
else:
    DataFrame = LabelledMatrix = MatrixHandle = TensorsHandle = Any  # so that Kedro can read the hints

_log = logging.getLogger(__name__)
ALL_COPIES = "all its networks have the same features: copies under several names are no repeats"
UNDEFINED = "a similarity between the repeats is undefined, or their mean vanishes"
OTHER_INPUT = "needs another number of operations for one stimulus than most of its kind"
_SAME = ("source", "architecture", "objective", "trained_on")


def compute_noise_ceilings(
    similarity_matrices: Mapping[str, MatrixHandle],
    features: Mapping[str, TensorsHandle],
    model_cards: DataFrame,
) -> DataFrame:
    """Bound the similarity with what repeats share, and list similarities with other networks next to it.

    Repeats are networks of one kind (source, architecture, objective and training set) that differ in a known
    seed; there must be at least two. Of networks with the same seed, or with the same features whatever their
    seeds, the first by name is taken; the others, and networks of a kind with repeats whose seed is unknown
    (further files, copies, checkpoints on the way), are neither repeats nor among the other networks, and the
    log names them. So are networks that need another number of operations for one stimulus than most of their
    kind, as after training on images of another size; other settings of a training, such as its schedule, are
    not compared, so sweeps of them count as repeats where seeds differ. A kind of which all networks have the
    same features has a row without a ceiling.

    Args:
        similarity_matrices: Handles by ``<stimulus set>/<measure>``; measures that are no cosines are left
            out.
        features: Handles by ``<stimulus set>/<model>``; those of the final layer show which networks are
            copies.
        model_cards: One row per network.

    Returns:
        Columns as in docs/tables.md: one row per stimulus set, measure and group of repeats.
        ``others_mean`` and ``others_largest`` are over similarities of the repeats with networks of other
        kinds.
    """
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    copies: dict[str, str] = {}
    digest = cache(partial(_digest_of_features, features))
    for key, handle in sorted(similarity_matrices.items()):
        stimulus_set, measure_id = MemberKey.parse(key)
        if get_measure(measure_id).is_cosine:
            matrix = handle.matrix()
            own = model_cards.set_index("model").loc[list(matrix.labels)].reset_index()
            kinds = list(_list_kinds(own, partial(digest, stimulus_set)))
            for kind in kinds:
                left_out |= kind.left_out
                copies |= kind.copies
            rows += [
                {"stimulus_set": stimulus_set, "measure": measure_id, **row}
                for row in _rows_of(matrix, own, kinds)
            ]
    if copies:
        _log.warning(
            "networks with different seeds have the same features; noise ceilings count them once: %s",
            _listed(copies),
        )
    if left_out:
        _log.info("noise ceilings leave out %d networks: %s", len(left_out), _listed(left_out))
    return NOISE_CEILINGS.frame(rows)


@dataclass(frozen=True)
class _Kind:
    """Networks of one source, architecture, objective and training set.

    Attributes:
        everyone: Places of its networks.
        repeats: Places of those whose known seeds and whose features differ; one alone where all features
            are the same.
        left_out: By name of every other network that is no copy: why.
        copies: By name of each network with another seed but the features of a repeat: which one.
    """

    everyone: list[int]
    repeats: list[int]
    left_out: dict[str, str]
    copies: dict[str, str]


def _listed(reasons: Mapping[str, str]) -> str:
    return ", ".join(f"{model} ({why})" for model, why in sorted(reasons.items()))


def _digest_of_features(features: Mapping[str, TensorsHandle], stimulus_set: str, model: str) -> str:
    """Return a digest of a network's final features; of one whose features are missing, its name."""
    handle = features.get(str(MemberKey(stimulus_set, model)))
    if handle is None:
        return model
    final = handle.tensor(str(handle.meta["final_layer"]))
    return hashlib.sha256(final.tobytes()).hexdigest()


def _list_kinds(own: DataFrame, digest: Callable[[str], str]) -> Iterator[_Kind]:
    """Yield the kinds that have several seeds, from one row per network and the digests of features."""
    for indices in own.groupby(list(_SAME), sort=True, dropna=False).indices.values():
        everyone = own.iloc[indices].sort_values("model")
        by_cost = [rows for _, rows in everyone.groupby("n_flops", sort=False, dropna=False)]
        members = max(by_cost, key=lambda rows: rows["seed"].nunique())
        known = members.dropna(subset=["seed"])
        seeded = known.drop_duplicates("seed")
        if len(seeded) < 2:
            continue
        first_with = dict(zip(seeded["seed"], seeded["model"], strict=True))
        digests = seeded["model"].map(digest)
        repeats = seeded[~digests.duplicated()]
        first_like = dict(zip(digests[repeats.index], repeats["model"], strict=True))
        others, copied = members.drop(seeded.index), seeded.drop(repeats.index)
        yield _Kind(
            sorted(int(index) for index in indices),
            sorted(int(index) for index in repeats.index),
            {
                model: f"has the seed of {first_with[seed]}" if seed in first_with else "its seed is unknown"
                for model, seed in zip(others["model"], others["seed"], strict=True)
            }
            | dict.fromkeys(everyone["model"].drop(members.index), OTHER_INPUT),
            {
                model: f"has the features of {first_like[of]}"
                for model, of in zip(copied["model"], digests[copied.index], strict=True)
            },
        )


def _rows_of(matrix: LabelledMatrix, own: DataFrame, kinds: Sequence[_Kind]) -> Iterator[dict[str, Any]]:
    import numpy as np
    import torch

    from rep_kedro.kernels.statistics.noise_ceiling import estimate_noise_ceiling

    if not kinds:
        return
    members = np.zeros((len(kinds), len(own)), dtype=bool)
    for group, kind in enumerate(kinds):
        members[group, kind.repeats] = True
    found = estimate_noise_ceiling(torch.from_numpy(matrix.values.copy()), torch.from_numpy(members))
    for group, kind in enumerate(kinds):
        facts = own.loc[kind.repeats[0], list(_SAME)]
        others = np.delete(matrix.values[kind.repeats], kind.everyone, axis=1)
        others = others[np.isfinite(others)]
        low, high = float(found.lower[group]), float(found.upper[group])
        reason = UNDEFINED if np.isnan(low + high) else ""
        yield {
            **{
                name: None if facts[name] is None or facts[name] != facts[name] else str(facts[name])
                for name in _SAME
            },
            "n_repeats": len(kind.repeats),
            "ceiling_low": low,
            "ceiling_high": high,
            "others_mean": float(others.mean()) if others.size else np.nan,
            "others_largest": float(others.max()) if others.size else np.nan,
            "reason": reason if len(kind.repeats) > 1 else ALL_COPIES,
        }

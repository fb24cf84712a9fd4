"""Rows of stored features by the stimuli of another subset: a view by index, nothing is copied to disk."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from rep_kedro.datasets import ArrowHandle, TensorsHandle

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Which rows of features are seen.

    Attributes:
        subset: The stimulus subset that is wanted; its order is that of the rows.
        indices: Row of each of its stimuli, shape (n_stimuli,), int64; a stimulus may come several times.
        ids_sha256: Of its stimulus ids, as features keep it.
    """

    subset: "ArrowHandle"
    indices: "np.ndarray[Any, np.dtype[np.int64]]"
    ids_sha256: str


class RowFinder:
    """Finds the rows of a subset's stimuli in features that were made of another; ids are read once.

    Args:
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``.
    """

    def __init__(self, stimulus_subsets: "Mapping[str, ArrowHandle]") -> None:
        self._subsets = stimulus_subsets
        self._ids: dict[str, list[str]] = {}
        self._hashes: dict[str, str] = {}
        self._found: dict[tuple[str, str], Rows | None] = {}

    def find(self, features: "TensorsHandle", wanted: "ArrowHandle") -> Rows | None:
        """Return the rows of a subset, or None if the features were made of just that one.

        Raises:
            ValueError: If the subset holds a stimulus that the features do not, or the subset that the
                features were made of is no longer there.
        """
        if features.recipe.get("stimulus_subset") == wanted.reference:
            return None  # known without reading an id
        hash_of_features = str(features.meta["stimulus_ids_sha256"])
        place = (hash_of_features, wanted.key)
        if place not in self._found:
            self._found[place] = self._search(features, hash_of_features, wanted)
        return self._found[place]

    def ids_of(self, features: "TensorsHandle") -> list[str] | None:
        """Return the stimulus ids of features in the order of their rows; None where no subset has them."""
        source = self._source_of(features, str(features.meta["stimulus_ids_sha256"]))
        return None if source is None else self._read(source)

    def _search(self, features: "TensorsHandle", hash_of_features: str, wanted: "ArrowHandle") -> Rows | None:
        if self._hash(wanted.key, wanted) == hash_of_features:
            return None
        source = self._source_of(features, hash_of_features)
        if source is None:
            stimulus_set = MemberKey.parse(features.key).stimulus_set
            raise UserError(
                f"features {features.key} ({features.meta['n_stimuli']} stimuli) match no stored subset of "
                f"{stimulus_set!r}, so stimulus subset {wanted.key} cannot be found in them; "
                "run ingest and features"
            )
        indices = find_rows(self._read(source), self._read(wanted.key, wanted), source, wanted.key)
        n_copies = len(indices) - len(set(indices.tolist()))
        if n_copies:
            _log.warning(
                "stimulus subset %s contains %d copies of stimuli; measures treat copies as different "
                "stimuli, which raises similarities",
                wanted.key,
                n_copies,
            )
        return Rows(wanted, indices, self._hash(wanted.key, wanted))

    def _source_of(self, features: "TensorsHandle", hash_of_features: str) -> str | None:
        """Return the key of the subset that features were made of: the one their recipe names, or another."""
        named = features.recipe.get("stimulus_subset")
        first = str(named.get("key")) if isinstance(named, Mapping) else ""
        own = MemberKey.parse(features.key).stimulus_set
        others = [k for k in sorted(self._subsets) if MemberKey.parse(k).stimulus_set == own and k != first]
        for key in [first, *others]:
            if key in self._subsets and self._hash(key) == hash_of_features:
                return key
        return None

    def _hash(self, key: str, handle: "ArrowHandle | None" = None) -> str:
        if key not in self._hashes:
            ids = "\n".join(self._read(key, handle))
            self._hashes[key] = hashlib.sha256(ids.encode()).hexdigest()
        return self._hashes[key]

    def _read(self, key: str, handle: "ArrowHandle | None" = None) -> list[str]:
        if key not in self._ids:
            table = (handle or self._subsets[key]).table(["stimulus_id"])
            self._ids[key] = table["stimulus_id"].to_pylist()
        return self._ids[key]


def find_rows(
    there: Sequence[str], wanted: Sequence[str], source: str, subset: str
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the place of each wanted stimulus; one that is there twice is found at its first place.

    Args:
        there: Stimulus ids of the features, in the order of their rows.
        wanted: Stimulus ids.
        source: Key of the subset that ``there`` is from, for the message.
        subset: Key of the wanted one.

    Raises:
        ValueError: If one is not there.
    """
    import numpy as np

    places = {stimulus: row for row, stimulus in reversed(list(enumerate(there)))}
    missing = [stimulus for stimulus in dict.fromkeys(wanted) if stimulus not in places]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(wanted)} stimuli of subset {subset} are not in {source}, from which the "
            f"features were made, such as {missing[:3]}; make features of a subset that contains them "
            "(features.subset)"
        )
    return np.array([places[stimulus] for stimulus in wanted], dtype=np.int64)

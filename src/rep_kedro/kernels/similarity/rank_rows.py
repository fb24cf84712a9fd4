"""Ranks of all models, in memory as far as it is allowed and otherwise in a scratch file."""

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise

import torch
from torch import Tensor

from rep_kedro.kernels.scratch import scratch_file

RANK_BYTES = 4
NUMBERS_PER_CHUNK = 2**19  # 4 MB in float64, which stay in the cache while they are multiplied
LARGER_ELSEWHERE = 64  # how many times as many at once on other devices than CPUs, where calls cost


class RankRows:
    """One row of ranks for each model, shape (n_entries,), int32.

    Args:
        n_models: Rows.
        n_entries: Ranks in each.
        n_held: Rows that memory has room for, at least one; of fewer than all, the last takes turns.
        device: Of the rows.

    Raises:
        OSError: If neither memory nor the folder for temporary files has room for the rows.
    """

    def __init__(self, n_models: int, n_entries: int, *, n_held: int, device: torch.device) -> None:
        self._n_models, self._n_entries = n_models, n_entries
        self._n_kept = n_models if n_held >= n_models else n_held - 1
        n_filed = n_models - self._n_kept
        self._file = scratch_file(n_filed * n_entries * RANK_BYTES) if n_filed else BytesIO()
        self._rows = torch.empty(self._n_kept + bool(n_filed), n_entries, dtype=torch.int32, device=device)

    def fill(self, model: int, write: Callable[[Tensor], None]) -> None:
        """Let ``write`` fill the row of a model."""
        row = self._rows[min(model, self._n_kept)]
        write(row)
        if model >= self._n_kept:
            self._file.seek((model - self._n_kept) * self._n_entries * RANK_BYTES)
            self._file.write(row.cpu().numpy().data)

    def row(self, model: int) -> Tensor:
        """Return the row of a model."""
        return self._rows[model] if model < self._n_kept else self._read(model, 0, self._n_entries)

    def chunks(self) -> Iterator[Tensor]:
        """Yield some entries of all rows after others, shape (n_models, up to n), float64."""
        numbers = NUMBERS_PER_CHUNK * (1 if self._rows.device.type == "cpu" else LARGER_ELSEWHERE)
        step = max(1, numbers // self._n_models)
        for start, stop in pairwise([*range(0, self._n_entries, step), self._n_entries]):
            chunk = torch.empty(self._n_models, stop - start, dtype=torch.float64, device=self._rows.device)
            chunk[: self._n_kept] = self._rows[: self._n_kept, start:stop]
            for model in range(self._n_kept, self._n_models):
                chunk[model] = self._read(model, start, stop)
            yield chunk

    def close(self) -> None:
        """Remove the scratch file."""
        self._file.close()

    def _read(self, model: int, start: int, stop: int) -> Tensor:
        ranks = torch.empty(stop - start, dtype=torch.int32)
        self._file.seek(((model - self._n_kept) * self._n_entries + start) * RANK_BYTES)
        self._file.readinto(ranks.numpy().data)
        return ranks.to(self._rows.device)

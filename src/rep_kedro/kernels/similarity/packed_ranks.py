"""Ranks of numbers that are packed with their places into integers: sorting in place is nearly all the work.

On CPUs all threads take part: the integers are split at quantiles, each thread sorts a part, and ranks are
written by chunks. On other devices the host waits for no chunk.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SORT_CHUNK = 65_536  # half a megabyte, as are its temporaries, so that they stay in the cache
CHUNK_ELSEWHERE = 4_194_304  # on other devices than CPUs, where calls cost

Ints = NDArray[np.int64]


def rank_packed(keys: Tensor, place_bits: int, *, tolerance: int, out: Tensor) -> None:
    """Write twice the average rank of each value, less N + 1, to its place.

    Values that follow each other in order by no more than the tolerance are ties.

    Args:
        keys: For each of N places, a value, zero or more, shifted to the left, plus the place, shape (N,),
            int64; sorted afterwards.
        place_bits: Bits of a place, by which values are shifted.
        tolerance: Largest difference of ties.
        out: Shape (N,), int32.
    """
    if keys.device.type == "cpu":
        rank_by_threads(keys, place_bits, tolerance=tolerance, out=out)
    else:
        rank_on_device(keys, place_bits, tolerance=tolerance, out=out)


def rank_by_threads(keys: Tensor, place_bits: int, *, tolerance: int, out: Tensor) -> None:
    """Do what ``rank_packed`` does with as many threads as torch uses; they share the memory of the keys."""
    packed, ranks, n_threads = keys.numpy(), out.numpy(), torch.get_num_threads()
    starts = range(0, len(packed), SORT_CHUNK)

    def find_edges(start: int) -> tuple[int, int] | None:
        edges = _edges(packed, start, place_bits, tolerance)
        return (int(edges[0]), int(edges[-1])) if len(edges) else None

    def write(start: int, first: int, stop: int) -> None:
        edges = _edges(packed, start, place_bits, tolerance)
        firsts, stops = np.concatenate([[first], edges]), np.append(edges, stop)
        places = packed[start : start + SORT_CHUNK] & ((1 << place_bits) - 1)
        counts = np.diff(edges, prepend=start, append=start + len(places))
        ranks[places] = np.repeat((firsts + stops - len(packed)).astype(np.int32), counts)

    with ThreadPoolExecutor(n_threads) as pool:
        _sort_in_place(packed, n_threads, pool)
        bounds = list(pool.map(find_edges, starts))
        firsts = _carried((found and found[1] for found in bounds), 0)
        stops = _carried((found and found[0] for found in reversed(bounds)), len(packed))[::-1]
        list(pool.map(write, starts, firsts, stops))  # a list, so that an error of a thread is raised here


def _sort_in_place(packed: Ints, n_threads: int, pool: ThreadPoolExecutor) -> None:
    cuts = [len(packed) * part // n_threads for part in range(1, n_threads)]
    if cuts:
        packed.partition(cuts)
    list(pool.map(np.ndarray.sort, np.split(packed, cuts)))


def _edges(packed: Ints, start: int, place_bits: int, tolerance: int) -> Ints:
    """Return where, among the sorted entries of a chunk, a value begins that is no tie of the one before."""
    values = packed[max(start - 1, 0) : start + SORT_CHUNK] >> place_bits
    return np.flatnonzero(values[1:] - values[:-1] > tolerance) + max(start, 1)


def _carried(found: Iterable[int | None], before: int) -> list[int]:
    """Return, for each chunk, what the last chunk before it has found."""
    carried = []
    for edge in found:
        carried.append(before)
        before = before if edge is None else edge
    return carried


def rank_on_device(keys: Tensor, place_bits: int, *, tolerance: int, out: Tensor) -> None:
    """Do what ``rank_packed`` does in operations of known shapes, so that the host waits for none of them."""
    keys.copy_(keys.sort().values)
    _level_ties(keys, place_bits, tolerance, CHUNK_ELSEWHERE)
    for start in range(0, len(keys), CHUNK_ELSEWHERE):
        places = keys[start : start + CHUNK_ELSEWHERE] & ((1 << place_bits) - 1)
        out.scatter_(0, places, _doubled_ranks(keys, start, start + len(places), place_bits))


def _level_ties(keys: Tensor, place_bits: int, tolerance: int, chunk: int) -> None:
    """Give entries that follow each other by no more than the tolerance the value of the first of them."""
    before = first = keys[0] >> place_bits
    for start in range(0, len(keys), chunk):
        part = keys[start : start + chunk]
        values = part >> place_bits
        gaps = torch.diff(values, prepend=before[None])
        before = values[-1].clone()
        firsts = values.masked_fill_(gaps <= tolerance, 0)
        firsts[0] = torch.maximum(firsts[0], first)
        firsts = firsts.cummax(0).values
        first = firsts[-1]
        part &= (1 << place_bits) - 1
        part |= firsts << place_bits


def _doubled_ranks(keys: Tensor, start: int, stop: int, place_bits: int) -> Tensor:
    """Return doubled ranks of part of the sorted entries by running extremes; ties may cross its ends."""
    values = keys[start:stop] >> place_bits
    before, behind = torch.searchsorted(keys, torch.stack([values[0], values[-1] + 1]) << place_bits)
    place = torch.arange(start, stop, device=keys.device)
    differs = values[1:] != values[:-1]
    first, last = torch.cat([before[None], place[1:] * differs]), torch.cat([place[:-1], behind[None] - 1])
    last[:-1].masked_fill_(~differs, len(keys))
    doubled = first.cummax(0).values + last.flip(0).cummin(0).values.flip(0)
    return (doubled + (1 - len(keys))).to(torch.int32)

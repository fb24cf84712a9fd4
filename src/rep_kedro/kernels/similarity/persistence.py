"""Loops of a growing complex of edges and triangles: when each one appears, and when triangles fill it."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def find_loops(
    edges: Integers, edge_values: Floats, triangles: Integers, triangle_values: Floats
) -> tuple[Floats, Floats]:
    """Return births and deaths of the one-dimensional holes of a filtered complex.

    Persistent cohomology over the field of two elements: edges from the last to the first, each with the set
    of triangles around it, added to the sets of later edges until its earliest triangle belongs to no other.
    Edges that join two components are left out, as they close no loop; a set is one integer of Python.

    Args:
        edges: Two vertices each, shape (n_edges, 2), the smaller first; vertices are there from the start.
        edge_values: When each edge appears, shape (n_edges,).
        triangles: Three vertices each, shape (n_triangles, 3), ascending, all edges among ``edges``.
        triangle_values: When each triangle appears, shape (n_triangles,), not before its edges.

    Returns:
        Births and deaths, infinite for a loop that is never filled, shape (n_loops,) each, in no order;
        loops that are filled as they appear are included.

    Cost:
        At most n_edges^2 additions of sets of n_triangles bits, in practice a few for each edge: 0.1 s for
        all triangles of 64 vertices.

    Source:
        de Silva, Morozov & Vejdemo-Johansson 2011, doi:10.1088/0266-5611/27/12/124003; clearing: Chen &
        Kerber 2011.
    """
    by_age = np.argsort(edge_values, kind="stable")
    edges, edge_values = edges[by_age], edge_values[by_age]
    in_order = np.argsort(triangle_values, kind="stable")
    around = _sets_of_triangles(edges, triangles[in_order])
    deaths_by_place = triangle_values[in_order][::-1]  # the earliest triangle is the highest bit
    earliest_of: dict[int, int] = {}
    births, deaths = [], []
    for place in np.flatnonzero(_closes_loop(edges))[::-1]:
        found = int.from_bytes(around[place].tobytes(), "little")
        while (highest := found.bit_length()) in earliest_of:
            found ^= earliest_of[highest]
        births.append(edge_values[place])
        deaths.append(deaths_by_place[highest - 1] if found else np.inf)
        if found:
            earliest_of[highest] = found
    return np.array(births, dtype=np.float64), np.array(deaths, dtype=np.float64)


def _closes_loop(edges: Integers) -> npt.NDArray[np.bool_]:
    """Return which edges, in this order, have both ends in one component already."""
    component = np.arange(edges.max(initial=0) + 1)
    closes = np.zeros(len(edges), dtype=np.bool_)
    for place, (first, second) in enumerate(edges):
        here, there = component[first], component[second]
        closes[place] = here == there
        if here != there:
            component[component == there] = here
    return closes


def _sets_of_triangles(edges: Integers, triangles: Integers) -> npt.NDArray[np.uint8]:
    """Return for each edge the triangles around it as bits, the first triangle at the highest place."""
    n_vertices, n_triangles = int(edges.max(initial=0)) + 1, len(triangles)
    place_of = np.zeros((n_vertices, n_vertices), dtype=np.int64)
    place_of[edges[:, 0], edges[:, 1]] = np.arange(len(edges))
    bits = np.zeros((len(edges), -(-n_triangles // 8)), dtype=np.uint8)
    place = np.arange(n_triangles)[::-1]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        sides = place_of[triangles[:, first], triangles[:, second]]
        np.bitwise_or.at(bits, (sides, place // 8), (1 << place % 8).astype(np.uint8))
    return bits

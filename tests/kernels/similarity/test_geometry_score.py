"""Loops of witness complexes, against gudhi's and shapes whose loops one can count."""

import numpy as np
import pytest
import torch
from tests.reference import descriptions as reference

from rep_kedro.kernels.similarity import geometry_score
from rep_kedro.kernels.similarity.descriptions import compare_descriptions
from rep_kedro.kernels.similarity.geometry_score import describe_living_times, share_by_count
from rep_kedro.kernels.similarity.persistence import find_loops
from rep_kedro.kernels.similarity.witness_complex import witness_complex

# of gudhi 3.13.0: WitnessComplex of draw_cloud, its first 40 points as landmarks, create_simplex_tree with
# max_alpha_square an eighth of the largest distance and limit_dimension 2, persistence over Z/2 with
# persistence_dim_max; edges, triangles, intervals in dimension 1, infinite ones; sums of births, of deaths
GUDHI = {
    "circle": (175, 341, 2, 1, 0.101023614363, 0.010441246264),
    "two circles": (244, 706, 2, 1, 0.149563054855, 0.783073183501),
    "torus": (308, 916, 23, 0, 1.606725101512, 7.101122775887),
    "sphere": (204, 360, 24, 0, 0.596430474915, 2.748518050899),
    "noise": (545, 3487, 41, 0, 1.499172041601, 6.229619108278),
}


def draw_cloud(name, n=150):
    rng = np.random.default_rng(0)
    turn, tilt = rng.uniform(0, 2 * np.pi, (2, n))
    noise = rng.standard_normal((n, 5))
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1) + 0.05 * noise[:, :2]
    width = 2 + np.cos(tilt)
    return {
        "circle": circle,
        "two circles": circle + 3 * (np.arange(n) % 2)[:, None],
        "torus": np.stack([width * np.cos(turn), width * np.sin(turn), np.sin(tilt)], axis=1),
        "sphere": noise[:, :3] / np.linalg.norm(noise[:, :3], axis=1, keepdims=True),
        "noise": noise,
    }[name]


def distances_to_first(points, n_landmarks):
    return np.linalg.norm(points[:, None] - points[:n_landmarks], axis=2)


def loops_of(distances, largest):
    faces = witness_complex(torch.as_tensor(distances), largest)
    births, deaths = find_loops(*(part.numpy() for face in faces for part in face))
    last = deaths > births
    return faces, births[last], deaths[last]


@pytest.mark.parametrize("name", GUDHI)
def test_complex_and_loops_are_those_of_gudhi(name):
    distances = distances_to_first(draw_cloud(name), 40)
    ((edges, _), (triangles, _)), births, deaths = loops_of(distances, distances.max() / 8)
    filled = np.isfinite(deaths)
    found = (len(edges), len(triangles), len(births), (~filled).sum(), births.sum(), deaths[filled].sum())
    assert found == pytest.approx(GUDHI[name], abs=1e-10)


@pytest.mark.parametrize("n_landmarks", [4, 9])
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_sets_appear_when_the_definition_sees_them(n_landmarks, share):
    distances = distances_to_first(draw_cloud("noise", 30), n_landmarks)
    largest = share * distances.max()
    found = witness_complex(torch.as_tensor(distances), largest)
    for (places, values), expected in zip(found, reference.simplices(distances, largest), strict=True):
        assert {tuple(key): value for key, value in zip(places.tolist(), values.tolist(), strict=True)} == (
            pytest.approx(expected, abs=1e-14)
        )


def test_loops_of_a_square_are_filled_by_its_triangles_in_turn():
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [0, 2]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    births, deaths = find_loops(edges, np.array([1.0, 1, 1, 2, 3]), triangles, np.array([3.0, 5]))
    assert sorted(zip(births, deaths, strict=True)) == [(2, 5), (3, 3)]
    births, deaths = find_loops(edges[:4], np.array([1.0, 1, 1, 2]), triangles[:0], np.array([]))
    assert (births.tolist(), deaths.tolist()) == ([2], [np.inf])


def test_shares_of_many_loops_are_not_counted():
    births, deaths = np.zeros(100), np.full(100, np.inf)
    deaths[0] = 0.25
    assert share_by_count(births, deaths).sum() == 0.75
    assert share_by_count(births, deaths)[99] == 0.75
    assert share_by_count(births[:0], deaths[:0]).tolist() == [1] + [0] * 99


def test_a_circle_is_seen_with_one_loop_and_a_line_with_none():
    turn = torch.arange(300, dtype=torch.float64) * 2 * torch.pi / 300
    circle = describe_living_times(torch.stack([turn.cos(), turn.sin()], dim=1), 1)
    line = describe_living_times(turn[:, None], 1)
    assert circle[1] > 0.9
    assert line[0] == 1
    [(_, values, _)] = compare_descriptions(
        [turn[:, None], torch.stack([turn.cos(), turn.sin()], dim=1)],
        {"it": {"description": "living_times"}},
        memory_bytes=1,
    )
    assert values[0, 1] == pytest.approx(float(((circle - line) ** 2).sum()))


def test_what_has_no_living_times_has_its_reason(monkeypatch):
    assert describe_living_times(torch.ones(20, 3), 1).startswith("all stimuli have the same features")
    with pytest.raises(ValueError, match="living times need at least 8 stimuli, got 7"):
        describe_living_times(torch.eye(7), 1)
    monkeypatch.setattr(geometry_score, "N_COUNTS", 1)
    monkeypatch.setattr(geometry_score, "N_DRAWS", 1)
    always = torch.as_tensor(draw_cloud("torus"))
    assert describe_living_times(always, 1) == (
        "between its landmarks there are always 1 loops or more, which are not counted"
    )

"""LiDAR and alignment: their formulas, batches, what leaves them unchanged, and hard inputs."""

import math

import pytest
import torch
from tests.reference import label_free as reference

from rep_kedro.kernels.layers.view_scatter import ViewScatter, measure_lidar


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views_of(n=12, q=3, k=5):
    return draw(n, 1, k) + 0.3 * draw(n, q, k, seed=1)


def scatter(views, step=None):
    found = ViewScatter(views.shape[2])
    for batch in views.split(step or len(views)):
        found.update(batch)
    return found


@pytest.mark.parametrize(("n", "q", "k"), [(12, 2, 5), (6, 4, 3), (4, 3, 8)])
@pytest.mark.parametrize("step", [1, 5, 12])
@pytest.mark.parametrize("delta", [1e-4, 1e-2])
def test_values_are_those_of_the_formulas_in_any_batches(n, q, k, step, delta):
    views = views_of(n, q, k)
    found = scatter(views, step)
    assert found.lidar(delta=delta).value == pytest.approx(reference.lidar(views, delta), rel=1e-6)
    assert measure_lidar(views, delta=delta).value == pytest.approx(found.lidar(delta=delta).value, rel=1e-9)
    assert found.alignment().value == pytest.approx(reference.alignment(views), rel=1e-9)
    assert (found.n_images, found.n_views) == (n, q)


def test_lidar_by_hand_counts_the_directions_in_which_images_differ():
    images = torch.eye(3, dtype=torch.float64)[:, None, :].expand(3, 2, 3)  # in a plane, views are equal
    assert measure_lidar(images).value == pytest.approx(2, rel=1e-4)
    assert scatter(images).alignment().value == 0


def test_alignment_by_hand():
    views = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [-3.0, -3.0]]])
    assert scatter(views).alignment().value == pytest.approx((2 + 4) / 2)


def test_what_changes_nothing():
    views = views_of()
    turned = views @ torch.linalg.qr(draw(5, 5, seed=4))[0]
    for changed in (turned + 3, turned.flip(0), turned.flip(1), views + 1e6):
        assert measure_lidar(changed).value == pytest.approx(measure_lidar(views).value, rel=1e-6)
    lengths = torch.logspace(-12, 12, 12, dtype=torch.float64)[:, None, None]
    for changed in (turned, lengths * views, 1e-200 * views, views.float()):
        assert scatter(changed).alignment().value == pytest.approx(scatter(views).alignment().value, rel=1e-6)


def test_lidar_of_badly_scaled_features_is_that_of_the_formula_or_says_why_not():
    views = views_of() * torch.tensor([1e4, 1, 1, 1, 1e-3])
    assert measure_lidar(views).value == pytest.approx(reference.lidar(views, 1e-4), rel=1e-6)
    flat = views_of() * torch.tensor([1e8, 1, 1, 1, 0])
    assert math.isnan(measure_lidar(flat).value)
    assert (
        measure_lidar(flat).reason
        == "delta 0.0001 is rounding relative to the scatter within images; raise delta"
    )


RANGE = "features are of a scale at which squares leave the range of numbers"
SAME = "images do not differ beyond rounding"
ROUNDING = "delta {:g} is rounding relative to the scatter within images; raise delta"


@pytest.mark.parametrize("delta", [1e-4, 0.0])
@pytest.mark.parametrize("scale", [1e160, 1e-160, 1e140, 1e-130, 1e30, 1e-30])
def test_lidar_at_any_scale_is_that_of_the_formula_or_says_why_not(scale, delta):
    views = views_of()
    found = measure_lidar(scale * views, delta=delta)
    if found.reason:
        assert (found.reason, abs(math.log10(scale)) >= 140) == (RANGE, True)
        assert math.isnan(found.value)
    else:  # with delta in the same unit
        expected = reference.lidar(views, delta / scale**2)
        assert found.value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "delta", "reason"),
    [
        (lambda x: x - x.mean(dim=1, keepdim=True), 1e-4, SAME),
        (lambda x: x[:1].expand(8, -1, -1) + 1e12, 1e-4, SAME),
        (lambda x: x[:, :1].expand(-1, 2, -1), 0.0, ROUNDING.format(0)),
        (lambda x: torch.cat([1e12 * x[:1], x[1:]]), 1e-4, ROUNDING.format(1e-4)),
        (lambda x: torch.cat([1e160 * x[:1], x[1:]]), 1e-4, RANGE),
    ],
)
def test_lidar_of_hard_inputs_says_why_it_is_undefined(change, delta, reason):
    found = measure_lidar(change(views_of()), delta=delta)
    assert (math.isnan(found.value), found.reason) == (True, reason)


@pytest.mark.parametrize("offset", [1e8, 1e12, -1e15, torch.tensor([1e12, 0, -1e3, 1e9, 1e15])])
@pytest.mark.parametrize("step", [12, 5])
def test_lidar_far_from_zero_is_that_of_the_formula_for_what_float64_keeps(offset, step):
    views = views_of() + offset
    expected = reference.lidar(views - views[3, 1], 1e-4)
    assert scatter(views, step).lidar().value == pytest.approx(expected, rel=1e-6)


def test_lidar_of_equal_views_is_that_of_the_images():
    views = views_of(n=6, k=4)[:, :1].expand(-1, 2, -1)
    assert measure_lidar(views).value == pytest.approx(reference.lidar(views, 1e-4), rel=1e-9)
    few = views[:2]  # two images differ in one direction
    assert measure_lidar(few).value == pytest.approx(1, rel=1e-4)


def test_what_is_undefined_has_a_reason():
    equal = measure_lidar(torch.ones(4, 2, 3))
    assert (math.isnan(equal.value), equal.reason) == (True, "images do not differ beyond rounding")
    one = scatter(draw(1, 2, 3)).lidar()
    assert (math.isnan(one.value), one.reason) == (True, "needs 2 images, got 1")
    zero = scatter(torch.zeros(4, 2, 3)).alignment()
    assert zero.reason == "a view has no direction: all its features are zero"
    assert ViewScatter(3).alignment().reason == "there are no images"


def test_other_shapes_and_what_is_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"at least 2 images and 2 views of each, got shape \(4, 1, 3\)"):
        measure_lidar(torch.ones(4, 1, 3))
    found = scatter(draw(4, 2, 3))
    with pytest.raises(ValueError, match=r"shape \(n_images, 2, 3\), got \(4, 3, 3\)"):
        found.update(draw(4, 3, 3))
    with pytest.raises(ValueError, match=r"shape \(n_images, 2 or more, 3\), got \(4, 1, 3\)"):
        ViewScatter(3).update(draw(4, 1, 3))
    with pytest.raises(
        ValueError, match=r"samples must be finite, got NaN or infinity in features \[0, 1, 2\]"
    ):
        found.update(torch.full((4, 2, 3), torch.nan))

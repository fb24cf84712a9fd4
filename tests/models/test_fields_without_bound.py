"""Receptive fields behind operators that read a whole map, or places that numbers choose; turned maps."""

import pytest
import torch
from tests.models.footprints import follow_every_position, follow_footprint, make_positive
from tests.models.test_fields_of_decoders import Call
from torch import nn
from torch.nn import functional

from rep_kedro.models.fields import find_layer_fields

SIDE = 12


def _sample_shrunk(x):
    theta = torch.tensor([[[0.5, 0.1, 0.0], [0.0, 0.5, 0.0]]], dtype=x.dtype, device=x.device)
    grid = functional.affine_grid(theta, [1, x.shape[1], 5, 5], align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


class Transformed(nn.Module):
    """A spatial transformer: the image decides where it is sampled."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 6)

    def forward(self, x):
        theta = 0.1 * self.line(x.mean(dim=(2, 3))).reshape(-1, 2, 3)
        grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)


def _filter_globally(x):
    spectrum = torch.fft.rfft2(x, norm="ortho")
    weights = torch.linspace(1, 2, spectrum.shape[-1], dtype=x.dtype, device=x.device)
    return torch.fft.irfft2(spectrum * weights, s=x.shape[2:], norm="ortho")


def _filter_pairs(x):
    pairs = torch.view_as_real(torch.fft.fft2(x))
    return torch.fft.ifft2(torch.view_as_complex(pairs * 2)).real


def _attend(x):
    tokens = x.flatten(2)
    weights = torch.einsum("bci,bcj->bij", tokens, tokens).softmax(dim=-1)
    return torch.einsum("bij,bcj->bci", weights, tokens).unflatten(2, x.shape[2:])


def _pick_rows(x):
    return x[:, :, torch.tensor([0, 3, 1], device=x.device)]


def _sort_by_the_sum(x):
    order = x.sum(dim=1, keepdim=True).flatten(2).argsort(dim=2).expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, order).unflatten(2, x.shape[2:])


STEM = (3, 2, 3)
WHOLE = {
    "running sum": Call(torch.cumsum, dim=2),
    "running largest": Call(lambda x: x.cummax(dim=3).values),
    "sampled at a fixed grid": Call(_sample_shrunk),
    "sampled where the image says": Transformed(),
    "filtered by frequencies": Call(_filter_globally),
    "pairs of complex numbers": Call(_filter_pairs),
    "attention by einsum": Call(_attend),
    "picked rows": Call(_pick_rows),
    "sorted": Call(_sort_by_the_sum),
    "largest of a row": Call(lambda x: x.topk(3, dim=3).values),
}


@pytest.mark.parametrize("case", WHOLE)
def test_no_gradient_leaves_a_field_without_bound(case):
    module = make_positive(nn.Sequential(nn.Conv2d(*STEM, padding=1), WHOLE[case]))
    last, found = follow_every_position(module, SIDE)
    for position, ends in found.items():
        for (first, final), axis in zip(
            follow_footprint(last.sees, position, SIDE, (2, 3)), ends, strict=True
        ):
            assert first <= axis[0] <= axis[1] <= final, position
    rows, columns = last.field
    assert rows.sees_whole_map or columns.sees_whole_map
    assert max(rows.size_px, columns.size_px) >= SIDE


def test_a_running_sum_along_columns_leaves_rows_as_they_were():
    network = nn.Sequential(nn.Conv2d(*STEM), Call(torch.cumsum, dim=3))
    field = find_layer_fields(network, ["1"], SIDE).known["1"]
    assert (field.rows.size_px, field.rows.sees_whole_map) == (3, False)
    assert (field.columns.size_px, field.columns.sees_whole_map) == (SIDE, True)


class Deformed(nn.Module):
    """A deformable convolution as torchvision calls it, where its compiled operators are."""

    def __init__(self):
        super().__init__()
        self.stem, self.offset = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(2, 18, 3, padding=1)
        self.moved, self.last = nn.Identity(), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return self.last(self.moved(torch.ops.rep_test.deform_conv2d(x, self.offset(x))))


@pytest.fixture
def deform():
    library = torch.library.Library("rep_test", "DEF")
    library.define("deform_conv2d(Tensor input, Tensor offset) -> Tensor")
    library.impl("deform_conv2d", lambda x, offset: x + offset[:, :1], "CompositeExplicitAutograd")
    yield
    library._destroy()


def test_offsets_have_windows_and_what_they_point_to_has_no_bound(deform):
    field = find_layer_fields(Deformed(), ["moved", "last"], SIDE).known
    assert field["moved"].columns.sees_whole_map
    assert (field["moved"].columns.windows_px, field["moved"].columns.jump_px) == (5, 1)
    assert field["last"].columns.windows_px == 7


TURNED = {
    "flipped": Call(torch.flip, dims=(2, 3)),
    "turned": Call(torch.rot90, k=1, dims=(2, 3)),
    "turned back": Call(torch.rot90, k=-1, dims=(2, 3)),
    "turned twice": Call(torch.rot90, k=2, dims=(2, 3)),
    "tiled": Call(lambda x: x.repeat(1, 1, 2, 1)),
    "each repeated": Call(lambda x: x.repeat_interleave(2, dim=3)),
}


@pytest.mark.parametrize("case", TURNED)
def test_turned_and_repeated_maps_see_exactly_the_pixels_of_their_gradient(case):
    module = make_positive(nn.Sequential(nn.Conv2d(3, 2, 3, 2, padding=1), TURNED[case], nn.Conv2d(2, 2, 3)))
    last, found = follow_every_position(module, SIDE)
    for position, ends in found.items():
        assert follow_footprint(last.sees, position, SIDE, (2, 3)) == ends, position
    assert not last.field[0].sees_whole_map


def test_circular_padding_lets_the_map_go_on():
    """The gradient of the middle is the field, and a corner sees as many pixels, some at the other side."""
    layers = [
        nn.Conv2d(*STEM, padding=1, padding_mode="circular"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
    ]
    module = make_positive(nn.Sequential(*layers))
    last, found = follow_every_position(module, SIDE)
    middle = (SIDE // 2, SIDE // 2)
    assert follow_footprint(last.sees, middle, SIDE, (2, 3)) == found[middle]
    image = torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    module(image)[0, :, 0, 0].sum().backward()
    n_rows = (image.grad[0].abs().sum(dim=(0, 2)) > 0).sum().item()
    assert n_rows == last.field[0].size_px == 5

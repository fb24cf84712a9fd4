"""Receptive fields behind resampling, transposed convolutions, unfolding, pixel shuffles, padding, shifts."""

import pytest
import torch
from tests.models.footprints import (
    follow_every_position,
    follow_footprint,
    make_positive,
    require_equal_footprints,
)
from torch import nn
from torch.nn import functional

from rep_kedro.models.fields import find_layer_fields

SIDE = 18


class Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function, **settings):
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, x):
        return self.function(x, **self.settings)


def _resize(**settings):
    return [nn.Conv2d(3, 2, 3, padding=1), nn.Upsample(**settings)]


def _transposed(*settings, **more):
    return [nn.Conv2d(3, 2, 2, 2), nn.ConvTranspose2d(2, 2, *settings, **more), nn.Conv2d(2, 2, 3, padding=1)]


def _padded(mode):
    return [nn.Conv2d(3, 2, 3, 2, 1), Call(functional.pad, pad=(1, 2, 2, 1), mode=mode), nn.Conv2d(2, 2, 3)]


def _fold(x, kernel, stride, padding):
    n = x.shape[2] // stride if padding == 0 else None
    windows = functional.unfold(x, kernel, stride=stride, padding=padding)
    side = (n * stride if n else x.shape[2], x.shape[3])
    return functional.fold(windows, side, kernel, stride=stride, padding=padding)


def _unpatch(x):
    """Patches by `Tensor.unfold`, and their sums in place of the patches."""
    return x.unfold(2, 4, 3).unfold(3, 3, 3).mean(dim=(-1, -2))


CASES = {
    "nearest": [*_resize(scale_factor=2), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 2, 2)],
    "nearest, wide window": [*_resize(scale_factor=3), nn.Conv2d(2, 2, 5, padding=4, dilation=2)],
    "nearest, smaller": _resize(size=(5, 9)),
    "nearest-exact": _resize(size=(17, 7), mode="nearest-exact"),
    "bilinear": [*_resize(scale_factor=2, mode="bilinear"), nn.Conv2d(2, 2, 3, padding=1)],
    "bilinear, thrice": [*_resize(scale_factor=3, mode="bilinear"), nn.Conv2d(2, 2, 3, padding=1)],
    "bilinear, smaller": _resize(size=(5, 7), mode="bilinear"),
    "bilinear, given scale": _resize(scale_factor=1.7, mode="bilinear"),
    "bilinear, corners": _resize(size=(23, 5), mode="bilinear", align_corners=True),
    "bilinear, widened": [Call(functional.interpolate, size=(5, 18), mode="bilinear", antialias=True)],
    "bicubic": _resize(scale_factor=2, mode="bicubic"),
    "bicubic, thrice": _resize(scale_factor=3, mode="bicubic"),
    "bicubic, widened": [Call(functional.interpolate, size=(4, 7), mode="bicubic", antialias=True)],
    "area": [Call(functional.interpolate, size=(5, 18), mode="area")],
    "transposed 2/2": _transposed(2, 2),
    "transposed 4/2": _transposed(4, 2, 1),
    "transposed 3/2": _transposed(3, 2, 1, output_padding=1),
    "transposed, dilated": _transposed(3, 1, 2, dilation=2),
    "transposed, groups, not square": _transposed((3, 5), (2, 3), (1, 0), groups=2),
    "windows added up": [nn.Conv2d(3, 2, 3, padding=1), Call(_fold, kernel=4, stride=2, padding=1)],
    "patches put back": [nn.Conv2d(3, 2, 3, padding=1), Call(_fold, kernel=3, stride=3, padding=0)],
    "unfold": [nn.Conv2d(3, 2, 3, padding=1), Call(_unpatch)],
    "shuffled": [nn.Conv2d(3, 8, 3, 2, 1), nn.PixelShuffle(2), nn.Conv2d(2, 2, 5, padding=2)],
    "unshuffled": [nn.Conv2d(3, 3, 1), nn.PixelUnshuffle(2), nn.Conv2d(12, 2, 3, padding=1)],
    "reflect": _padded("reflect"),
    "replicate": _padded("replicate"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_position_sees_exactly_the_pixels_of_its_gradient(case):
    module = make_positive(nn.Sequential(*CASES[case]))
    last, found = follow_every_position(module, SIDE)
    n_inside = 0
    for position, ends in found.items():
        followed = follow_footprint(last.sees, position, SIDE, (2, 3))
        for axis, (first, final) in enumerate(followed):
            if first > 0 and final < SIDE - 1:
                n_inside += 1
                assert ends[axis] == [first, final], position
            elif case != "reflect":  # whose padding sees pixels further inside
                assert first <= ends[axis][0] <= ends[axis][1] <= final, position
    assert n_inside > 0
    rows, columns = last.field
    assert (rows.windows_px, columns.windows_px) == (rows.smallest_path_px, columns.smallest_path_px)


class UNet(nn.Module):
    """Two levels; goes up by a transposed convolution and by interpolation, and joins what it came from."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.deep, self.up = nn.Conv2d(4, 4, 3, padding=1), nn.ConvTranspose2d(4, 2, 2, 2)
        self.middle, self.last = nn.Conv2d(6, 2, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        one = self.one(x)
        two = self.two(functional.avg_pool2d(one, 2))
        up = self.up(self.deep(functional.avg_pool2d(two, 2)))
        middle = self.middle(torch.cat([two, up], dim=1))
        up = functional.interpolate(middle, scale_factor=2, mode="bilinear")
        return self.last(torch.cat([one, up], dim=1))


def test_both_ways_through_a_u_net_are_known():
    network = UNet()
    fields = {name: field.columns for name, field in find_layer_fields(network, None, 32).known.items()}
    # Down: 3, 4 behind the pool, 8, 10 behind the pool, 18. A position of `up` is made of one of `deep`;
    # three of `middle` read two of them, 4 px apart. Interpolation adds one position of 2 px, and the last
    # convolution reads from two neighbours up to three: another 2 px.
    assert {name: field.windows_px for name, field in fields.items()} == {
        **{"one": 3, "two": 8, "deep": 18, "up": 18},
        **{"middle": 22, "last": 26},
    }
    assert {name: field.jump_px for name, field in fields.items()} == {
        **{"one": 1, "two": 2, "deep": 4, "up": 2},
        **{"middle": 2, "last": 1},
    }
    assert fields["last"].smallest_path_px == 5  # past everything below
    require_equal_footprints(make_positive(network), ["middle", "last"], 32)


class Patches(nn.Module):
    """Tokens from `unfold`, as some vision transformers make them; a convolution over them as a map."""

    def __init__(self, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.line, self.last = nn.Linear(3 * kernel**2, 3), nn.Conv2d(3, 4, 3, padding=1)
        self.tokens = nn.Identity()

    def forward(self, x):
        windows = functional.unfold(x, self.kernel, stride=self.stride)
        tokens = self.tokens(self.line(windows.transpose(1, 2)))
        return self.last(
            tokens.transpose(1, 2).unflatten(2, (-1, (x.shape[3] - self.kernel) // self.stride + 1))
        )


@pytest.mark.parametrize(("kernel", "stride"), [(4, 4), (5, 3)])
def test_tokens_of_unfolded_patches_see_their_patch(kernel, stride):
    network = Patches(kernel, stride)
    fields = {name: field.columns for name, field in find_layer_fields(network, None, 32).known.items()}
    assert (fields["tokens"].size_px, fields["tokens"].jump_px) == (kernel, stride)
    assert (fields["last"].size_px, fields["last"].smallest_path_px) == (kernel + 2 * stride,) * 2
    require_equal_footprints(make_positive(network), ["last"], 32)


@pytest.mark.parametrize("settings", [{"shifts": (1, -2), "dims": (2, 3)}, {"shifts": 3}])
def test_shifted_maps_see_what_was_moved_to_them(settings):
    network = nn.Sequential(
        nn.Conv2d(3, 2, 3, padding=1), Call(torch.roll, **settings), nn.Conv2d(2, 2, 3, padding=1)
    )
    require_equal_footprints(make_positive(network), ["1", "2"], SIDE)


def test_positions_of_finer_maps_are_less_than_a_pixel_apart_and_counted_as_one():
    network = nn.Sequential(
        nn.Upsample(scale_factor=4), nn.Conv2d(3, 2, 6), nn.Conv2d(2, 2, 3, 4), nn.Conv2d(2, 2, 3)
    )
    fields = [field.columns for field in find_layer_fields(network, None, 16).known.values()]
    assert [field.jump_px for field in fields] == [1, 1, 1, 1]
    # six copies of four are of three pixels at most, eight from a first one on of two; then as without copies
    assert [field.size_px for field in fields] == [1, 3, 2, 4]


def test_what_reads_nothing_anywhere_is_not_followed():
    network = nn.Sequential(nn.ConvTranspose2d(3, 2, 2, 3))
    why = "layer '0' calls a transposed convolution that leaves gaps, whose receptive field is not known"
    assert find_layer_fields(network, None, 8).unknown == {"0": why}
    folded = nn.Sequential(Call(lambda x: functional.fold(functional.unfold(x, 2, stride=3), 8, 2, stride=3)))
    why = "layer '0' calls a sum of windows that leaves gaps, whose receptive field is not known"
    assert find_layer_fields(folded, None, 8).unknown == {"0": why}

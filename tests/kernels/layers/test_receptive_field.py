"""Receptive fields: published tables, brute force over random graphs, border layers, refusals."""

import random

import pytest
from tests.reference import receptive_field as reference

from rep_kedro.kernels.layers.receptive_field import (
    LayerGeometry,
    compute_receptive_fields,
    find_border_layer,
)

VGG_STAGES = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
VGG_FIELDS = {
    "vgg11": [3, 8, 18, 26, 46, 62, 102, 134],
    "vgg13": [3, 5, 10, 14, 24, 32, 52, 68, 108, 140],
    "vgg16": [3, 5, 10, 14, 24, 32, 40, 60, 76, 92, 132, 164, 196],
    "vgg19": [3, 5, 10, 14, 24, 32, 40, 48, 68, 84, 100, 116, 156, 188, 220, 252],
}


def _make_vgg(stages, *, dilation=1, padding=1):
    layers, previous = [], ()
    for stage, n_convs in enumerate(stages):
        for i in range(n_convs):
            name = f"conv{stage}.{i}"
            layers.append(LayerGeometry(name, previous, 3, 1, padding, dilation=dilation))
            previous = (name,)
        layers.append(LayerGeometry(f"pool{stage}", previous, 2, 2))
        previous = (f"pool{stage}",)
    return layers


def _make_resnet(blocks, *, has_image_net_stem):
    """Basic blocks only; shortcuts are projections of 1 x 1 where the stride is 2."""
    stem = LayerGeometry("conv1", (), 7, 2, 3) if has_image_net_stem else LayerGeometry("conv1", (), 3, 1, 1)
    layers, previous = [stem], "conv1"
    if has_image_net_stem:
        layers.append(LayerGeometry("pool", ("conv1",), 3, 2, 1))
        previous = "pool"
    for stage, n_blocks in enumerate(blocks):
        for i in range(n_blocks):
            stride = 2 if stage > 0 and i == 0 else 1
            base = f"layer{stage + 1}-{i}"
            layers += [
                LayerGeometry(f"{base}-conv1", (previous,), 3, stride, 1),
                LayerGeometry(f"{base}-conv2", (f"{base}-conv1",), 3, 1, 1),
                LayerGeometry(f"{base}-short", (previous,), 1, stride),
                LayerGeometry(f"{base}-add", (f"{base}-conv2", f"{base}-short")),
            ]
            previous = f"{base}-add"
    return layers


def _convolutions(layers):
    return [layer.name for layer in layers if "conv" in layer.name]


def _sizes(layers, input_px=32):
    fields = compute_receptive_fields(layers, input_px)
    return [fields[name].size_px for name in _convolutions(layers)]


def _smallest(layers, input_px=32):
    fields = compute_receptive_fields(layers, input_px)
    return [fields[name].smallest_path_px for name in _convolutions(layers)]


@pytest.mark.parametrize("name", VGG_FIELDS)
def test_vgg_fields_are_the_published_ones(name):
    assert _sizes(_make_vgg(VGG_STAGES[name])) == VGG_FIELDS[name]


def test_dilation_counts():
    # The published maps grow by four pixels per convolution: padding 5 with an effective kernel of 7.
    published = [7, 13, 26, 38, 64, 88, 112, 136, 188, 236, 284, 332, 436, 532, 628, 724]
    layers = _make_vgg(VGG_STAGES["vgg19"], dilation=3, padding=5)
    assert _sizes(layers) == published
    fields = compute_receptive_fields(layers, 32)
    maps = [36, 40, 24, 28, 18, 22, 26, 30, 19, 23, 27, 31, 19, 23, 27, 31]
    assert [fields[name].map_size for name in _convolutions(layers)] == maps


def test_resnet_fields_over_all_paths_are_the_published_ones():
    resnet18 = [7, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]
    resnet18_pc = [3, 5, 7, 9, 11, 13, 17, 21, 25, 29, 37, 45, 53, 61, 77, 93, 109]
    assert _sizes(_make_resnet((2, 2, 2, 2), has_image_net_stem=True)) == resnet18
    assert _sizes(_make_resnet((2, 2, 2, 2), has_image_net_stem=False)) == resnet18_pc
    resnet34 = _sizes(_make_resnet((3, 4, 6, 3), has_image_net_stem=True))
    assert resnet34[:17] == [7, 19, 27, 35, 43, 51, 59, 67, 83, 99, 115, 131, 147, 163, 179, 195, 227]
    assert resnet34[-6:] == [579, 643, 707, 771, 835, 899]
    assert _sizes(_make_resnet((3, 4, 6, 3), has_image_net_stem=False))[-3:] == [193, 209, 225]


def test_resnet_fields_along_the_smallest_path_are_the_published_ones():
    resnet18 = [7, 19, 27, 19, 27, 19, 35, 27, 43, 27, 59, 43, 75, 43, 107, 75, 139]
    resnet34 = [7, *[19, 27] * 3, 19, 35, *[27, 43] * 3, 27, 59, *[43, 75] * 5, 43, 107, *[75, 139] * 2]
    assert _smallest(_make_resnet((2, 2, 2, 2), has_image_net_stem=True)) == resnet18
    assert _smallest(_make_resnet((3, 4, 6, 3), has_image_net_stem=True)) == resnet34


@pytest.mark.parametrize(
    ("layers", "rule", "index"),
    [
        (_make_vgg(VGG_STAGES["vgg11"]), "input", 5),
        (_make_vgg(VGG_STAGES["vgg13"]), "input", 7),
        (_make_vgg(VGG_STAGES["vgg16"]), "input", 7),
        (_make_vgg(VGG_STAGES["vgg19"]), "input", 7),
        (_make_vgg(VGG_STAGES["vgg19"], dilation=3, padding=5), "input", 4),
        (_make_resnet((2, 2, 2, 2), has_image_net_stem=True), "input", 4),
        (_make_resnet((2, 2, 2, 2), has_image_net_stem=False), "input", 11),
        (_make_resnet((3, 4, 6, 3), has_image_net_stem=False), "input", 12),
        (_make_resnet((2, 2, 2, 2), has_image_net_stem=True), "smallest_path", 10),
        (_make_resnet((3, 4, 6, 3), has_image_net_stem=True), "smallest_path", 16),
    ],
)
def test_border_layers_are_the_published_ones(layers, rule, index):
    names = _convolutions(layers)
    fields = compute_receptive_fields(layers, 32)
    assert find_border_layer(fields, names, 32, rule=rule) == names[index]


def test_a_network_that_never_sees_the_whole_image_has_no_border():
    layers = _make_vgg((2,))
    fields = compute_receptive_fields(layers, 32)
    for rule in ("input", "smallest_path"):
        assert find_border_layer(fields, _convolutions(layers), 32, rule=rule) is None


def _draw_graph(seed):
    """A random graph in which every second layer may join two earlier branches of equal map."""
    draw = random.Random(seed)  # noqa: S311
    layers, groups = [], {(1, 23): [()]}
    for i in range(8):
        key = draw.choice([k for k in groups if groups[k]])
        source = draw.choice(groups[key])
        jump, size = key
        if draw.random() < 0.35 and len([s for s in groups[key] if s]) > 1:
            inputs = tuple(draw.sample([s[0] for s in groups[key] if s], 2))
            layer = (f"l{i}", inputs, 1, 1, 0, 1)
        else:
            kernel, dilation = draw.choice([(1, 1), (2, 1), (3, 1), (3, 2), (4, 1)])
            layer = (f"l{i}", source, kernel, draw.choice([1, 1, 2]), draw.choice([0, 1, 2]), dilation)
        reach = (layer[2] - 1) * layer[5] + 1
        if size + 2 * layer[4] < reach:
            continue
        layers.append(layer)
        n_out = (size + 2 * layer[4] - reach) // layer[3] + 1
        groups.setdefault((jump * layer[3], n_out), []).append((f"l{i}",))
    layers.append(("whole", (layers[-1][0],), None, 1, 0, 1))
    return layers


@pytest.mark.parametrize("seed", range(40))
def test_intervals_are_what_following_every_pixel_gives(seed):
    graph = _draw_graph(seed)
    fields = compute_receptive_fields(
        [LayerGeometry(n, i, k, s, p, dilation=d) for n, i, k, s, p, d in graph], 23
    )
    traced = reference.trace_receptive_fields(graph, 23)
    shortest = reference.smallest_path(graph, 23)
    for name, seen in traced.items():
        field = fields[name]
        assert field.map_size == len(seen)
        assert field.smallest_path_px == shortest[name]
        for position, pixels in enumerate(seen):
            start = field.start_px + position * field.jump_px
            assert (min(pixels), max(pixels)) == (start, start + field.size_px - 1)


def test_paths_that_are_not_centred_on_each_other_unite_to_more_than_the_larger_one():
    layers = [
        LayerGeometry("left", (), 3, padding=2, padding_after=0),
        LayerGeometry("right", (), 3, padding=0, padding_after=2),
        LayerGeometry("both", ("left", "right")),
    ]
    field = compute_receptive_fields(layers, 10)["both"]
    assert (field.size_px, field.smallest_path_px, field.start_px) == (5, 3, -2)


def test_ceil_mode_counts_a_window_that_is_partly_filled_but_none_in_the_padding_behind():
    def n_positions(input_px, padding):
        layer = LayerGeometry("pool", (), 2, 2, padding, has_ceil_size=True)
        return compute_receptive_fields([layer], input_px)["pool"].map_size

    assert n_positions(5, 0) == 3
    assert n_positions(4, 0) == 2
    assert n_positions(5, 1) == 3  # torch: max_pool2d of 5 with padding 1 and ceil mode gives 3


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([LayerGeometry("a"), LayerGeometry("a")], "layer name 'a' occurs twice"),
        ([LayerGeometry("a", ("z",))], "layer 'a' takes its input from 'z'"),
        ([LayerGeometry("a", (), 9)], "layer 'a' has a window of 9, larger than its map of 8"),
        (
            [LayerGeometry("a"), LayerGeometry("b", (), 1, 2), LayerGeometry("c", ("a", "b"))],
            "inputs of layer 'c' disagree on jump_px: {'a': 1, 'b': 2}",
        ),
        (
            [LayerGeometry("a"), LayerGeometry("b", (), 3), LayerGeometry("c", ("a", "b"))],
            "inputs of layer 'c' disagree on map_size: {'a': 8, 'b': 6}",
        ),
    ],
)
def test_an_impossible_graph_is_refused_by_name(layers, message):
    with pytest.raises(ValueError, match=message):
        compute_receptive_fields(layers, 8)


def test_an_unknown_rule_or_layer_is_refused():
    fields = compute_receptive_fields([LayerGeometry("a")], 8)
    with pytest.raises(ValueError, match="unknown border rule 'max'; known: input, smallest_path"):
        find_border_layer(fields, ["a"], 8, rule="max")
    with pytest.raises(ValueError, match="no receptive field for layer 'b'; known: a"):
        find_border_layer(fields, ["b"], 8)

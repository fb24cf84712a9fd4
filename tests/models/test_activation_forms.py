"""Channels, stimuli and tokens are found for each layer, in any library's layout; what is open is refused."""

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.outline import build_on_meta, require_readable
from rep_kedro.models.sources.specs import ModelEntry

TIMM = {"source": "timm", "pretrained": False}
CHANNELS_LAST = [
    ("torchvision", "swin_t", {"features.1": 96, "features.2": 192, "features.7": 768, "norm": 768}),
    ("torchvision", "swin_v2_t", {"features.0": 96, "features.5": 384, "features.7": 768, "permute": 768}),
    ("torchvision", "maxvit_t", {"blocks.0": 64, "blocks.3": 512}),
    ("timm", "swin_tiny_patch4_window7_224", {"patch_embed.proj": 96, "layers.1": 192, "layers.3": 768}),
    ("timm", "swin_s3_tiny_224", {"layers.0": 96, "layers.3": 768}),
    ("timm", "swinv2_tiny_window8_256", {"layers.0": 96, "layers.2": 384, "norm": 768}),
    ("timm", "swinv2_cr_tiny_224", {"patch_embed.norm": 96, "patch_embed": 96, "stages.3": 768}),
    ("timm", "volo_d1_224", {"network.0.0": 192, "network.1": 384, "network.2.0": 384, "norm": 384}),
    ("timm", "samvit_base_patch16_224", {"blocks.0": 768, "neck": 768}),
    ("timm", "gcvit_xxtiny", {"stages.0": 64, "stages.1.blocks.0": 128, "stages.3": 512}),
    ("timm", "pvt_v2_b0", {"patch_embed": 32, "stages.1.blocks.0": 64, "stages.1.norm": 64, "stages.3": 256}),
    ("timm", "hieradet_small", {"patch_embed": 96, "blocks.1": 192, "blocks.14": 768}),
    ("timm", "sequencer2d_s", {"stages.0": 192, "stages.3": 384}),
    ("timm", "nest_tiny", {"levels.1": 192, "norm": 384}),
    ("timm", "mambaout_femto", {"stages.0": 48, "stages.3": 288}),
    ("timm", "convnext_atto", {"stages.0.blocks.0.norm": 40, "stages.3": 320}),
    ("timm", "levit_128s", {"stem.conv1": 16, "stages.0": 128, "stages.2": 384}),
    ("timm", "efficientformer_l1", {"stages.2": 224, "stages.3": 448}),
    ("timm", "hiera_tiny_224", {"blocks.0": 96, "blocks.1": 192, "blocks.11": 768}),
    ("timm", "mixer_s16_224", {"blocks.0.mlp_tokens": 512, "blocks.0.mlp_channels": 512, "norm": 512}),
]
LONG = {"sequencer2d_s"}  # loops over rows and columns


def _entry(source, name, layers, **content):
    drawn = {"weights": None} if source == "torchvision" else {"pretrained": False}
    entry = {"source": source, "name": name, "layers": list(layers), **drawn, **content}
    return TypeAdapter(ModelEntry).validate_python(entry)


@pytest.mark.parametrize(
    ("source", "name", "widths"),
    [pytest.param(*case, id=case[1], marks=[pytest.mark.slow] * (case[1] in LONG)) for case in CHANNELS_LAST],
)
def test_features_are_the_channels_of_each_layer(source, name, widths):
    assert require_readable(_entry(source, name, widths), "average") == widths


def test_a_layout_that_contradicts_the_shape_is_refused():
    entry = _entry("torchvision", "swin_t", ["features.7"], layout="nchw")
    with pytest.raises(
        UserError, match=r"'features.7': .* \(1, 7, 7, 768\) has its channels last, but .* nchw"
    ):
        require_readable(entry, "average")
    entry = _entry("timm", "resnet18", ["layer4"], layout="nhwc")
    with pytest.raises(UserError, match=r"'layer4': .* \(1, 512, 7, 7\) has its channels first, but .* nhwc"):
        require_readable(entry, "average")
    entry = _entry("timm", "vit_tiny_patch16_224", ["blocks.0"], layout="tokens_first")
    with pytest.raises(
        UserError, match=r"'blocks.0': .* \(1, 197, 192\) .* contradicts layout: tokens_first"
    ):
        require_readable(entry, "average")


class _Cube(nn.Module):
    """Maps of as many channels as rows: (n, 8, 8, 8) for an image of 8 pixels."""

    def __init__(self, *, channels_last, is_fixed=False):
        super().__init__()
        self.conv, self.norm, self.plain = nn.Conv2d(3, 8, 1), nn.LayerNorm(8), nn.Identity()
        self.channels_last, self.is_fixed = channels_last, is_fixed

    def forward(self, x):
        if self.is_fixed and x.shape[-1] != 8:
            raise ValueError("another size")
        x = self.norm(self.conv(x).movedim(1, -1))
        return self.plain(x if self.channels_last else x.movedim(-1, 1))


@pytest.mark.parametrize("channels_last", [True, False])
def test_as_many_channels_as_rows_are_distinguished_by_a_larger_image(channels_last):
    network = _Cube(channels_last=channels_last).eval()
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    read = LayerReader(network, ["conv", "norm", "plain"], example=x[:1]).read(x, "average")
    expected = network.norm(network.conv(x).movedim(1, -1)).mean((1, 2)).detach()
    torch.testing.assert_close(read["conv"], network.conv(x).mean((2, 3)).detach())
    torch.testing.assert_close(read["norm"], expected)
    torch.testing.assert_close(read["plain"], expected)


def test_as_many_channels_as_rows_are_refused_where_nothing_tells_them_apart():
    network, example = _Cube(channels_last=True, is_fixed=True).eval(), torch.zeros(1, 3, 8, 8)
    with pytest.raises(
        UserError, match=r"'plain': .* \(1, 8, 8, 8\) does not show .*; set layout: nchw or nhwc"
    ):
        LayerReader(network, ["plain"], example=example).read(example, "average")
    reader = LayerReader(network, ["conv", "norm"], example=example)
    assert {name: form.channel_axis for name, form in reader.find_forms("average").items()} == {
        "conv": 1,
        "norm": 3,
    }
    assert LayerReader(network, ["plain"], example=example, layout="nhwc").widths("average") == {"plain": 8}
    with pytest.raises(UserError, match=r"'norm': .* has its channels last, but the entry sets layout: nchw"):
        LayerReader(network, ["norm"], example=example, layout="nchw").widths("average")


def test_the_proportions_of_an_image_that_is_no_square_show_the_channels():
    network = _Cube(channels_last=True).eval()
    x = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    read = LayerReader(network, ["plain"], example=x).read(x, "average")
    torch.testing.assert_close(read["plain"], network(x).mean((1, 2)).detach())


def test_heads_of_attention_are_no_map():
    entry = _entry("timm", "vit_pe_core_tiny_patch16_384", ["attn_pool.k_norm"])
    with pytest.raises(UserError, match=r"'attn_pool.k_norm': .* \(1, 8, 577, 24\) does not show"):
        require_readable(entry, "average")


def test_several_tensors_are_not_read_as_the_first():
    with pytest.raises(UserError, match=r"'blocks.0' does not return a single tensor; choose a layer inside"):
        require_readable(_entry("timm", "crossvit_tiny_240", ["blocks.0"]), "average")


SMALL = {"img_size": 64, "depth": 2}
WITH_PREFIX = [
    ("vit_tiny_patch16_224", SMALL, "blocks.1", 1),
    ("deit_tiny_distilled_patch16_224", SMALL, "blocks.1", 2),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 56, "depth": 2}, "blocks.1", 5),
    ("vit_small_patch16_dinov3", SMALL, "blocks.1", 5),
    ("eva02_tiny_patch14_224", {"img_size": 56, "depth": 2}, "blocks.1", 1),
    ("beit_base_patch16_224", {**SMALL, "embed_dim": 48, "num_heads": 4}, "blocks.1", 1),
]


@pytest.mark.parametrize(("name", "size", "layer", "n_prefix"), WITH_PREFIX, ids=[c[0] for c in WITH_PREFIX])
def test_class_token_and_patches_are_those_that_timm_gives(name, size, layer, n_prefix):
    network, x = _drawn(name, size)
    with torch.no_grad():
        ((maps, prefix),) = network.forward_intermediates(
            x, indices=[1], return_prefix_tokens=True, intermediates_only=True
        )
    reader = LayerReader(network, [layer], example=x[:1])
    assert prefix.shape[1] == n_prefix == reader.find_forms("cls")[layer].n_prefix_tokens
    torch.testing.assert_close(reader.read(x, "cls")[layer], prefix[:, 0])
    torch.testing.assert_close(reader.read(x, "patch_average")[layer], maps.mean((2, 3)))


LATE = [
    ("cait_xxs24_224", {"img_size": 64, "depth": 2}, "blocks.0", "blocks_token_only.1"),
    ("xcit_nano_12_p16_224", {"img_size": 64, "depth": 2}, "blocks.0", "cls_attn_blocks.0"),
    ("convit_tiny", {"img_size": 64}, "blocks.0", "blocks.11"),
    ("volo_d1_224", {"img_size": 64}, "network.2.0", "norm"),
]


@pytest.mark.parametrize(("name", "size", "early", "late"), LATE, ids=[case[0] for case in LATE])
def test_a_class_token_that_joins_late_is_read_only_behind_where_it_joins(name, size, early, late):
    network, x = _drawn(name, size)
    with pytest.raises(UserError, match=f"layer '{early}': pooling 'cls' needs"):
        LayerReader(network, [early], example=x[:1]).read(x, "cls")
    reader = LayerReader(network, [late], example=x[:1])
    whole = reader.read(x)[late]
    assert torch.equal(reader.read(x, "cls")[late], whole[:, 0])
    if whole.shape[1] > 1:
        torch.testing.assert_close(reader.read(x, "patch_average")[late], whole[:, 1:].mean(1))
    early_reader = LayerReader(network, [early], example=x[:1])
    whole = early_reader.read(x)[early]
    if whole.ndim == 3:
        torch.testing.assert_close(early_reader.read(x, "patch_average")[early], whole.mean(1))


def test_registers_are_no_class_token():
    entry = _entry("timm", "vit_betwixt_patch16_reg4_gap_256", ["blocks.0"])
    with pytest.raises(UserError, match="the 4 tokens before its patches are registers"):
        require_readable(entry, "cls")
    network, x = _drawn("vit_betwixt_patch16_reg4_gap_256", {"img_size": 32, "depth": 1})
    reader = LayerReader(network, ["blocks.0"], example=x[:1])
    whole = reader.read(x)["blocks.0"]
    torch.testing.assert_close(reader.read(x, "patch_average")["blocks.0"], whole[:, 4:].mean(1))


@pytest.mark.parametrize(
    ("name", "layer", "pooling", "stated", "message"),
    [
        ("cait_xxs24_224", "blocks.0", "patch_average", 1, "196 tokens are 0 prefix tokens and 196 patches"),
        (
            "vit_tiny_patch16_224",
            "blocks.0",
            "patch_average",
            0,
            "197 tokens are 1 prefix tokens and 196 patches",
        ),
        (
            "vit_base_patch16_siglip_224",
            "blocks.0",
            "cls",
            1,
            "196 tokens are 0 prefix tokens and 196 patches",
        ),
    ],
)
def test_a_prefix_that_contradicts_the_grid_of_patches_is_refused(name, layer, pooling, stated, message):
    entry = _entry("timm", name, [layer], n_prefix_tokens=stated)
    with pytest.raises(UserError, match=f"{message}, but the entry sets n_prefix_tokens: {stated}"):
        require_readable(entry, pooling)


def test_the_image_side_of_open_clip_is_asked_for_its_class_token():
    names = {
        "EVA02-B-16": "visual.trunk.blocks.5",
        "ViT-B-32": "visual.transformer.resblocks.1",
        "coca_ViT-B-32": "visual.transformer.resblocks.1",
    }
    for name, layer in names.items():
        entry = _entry("open_clip", name, [layer], pretrained=None)
        assert require_readable(entry, "cls_and_patch_average") == {layer: 2 * 768}
    with pytest.raises(UserError, match="needs a class token, and this layer has none"):
        require_readable(
            _entry("open_clip", "ViT-B-16-SigLIP", ["visual.trunk.blocks.5"], pretrained=None), "cls"
        )


class _TokensFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.ones(6))
        self.conv, self.inner, self.last = nn.Conv2d(3, 6, 4, 4), nn.Identity(), nn.Identity()

    def forward(self, x):
        patches = self.conv(x).flatten(2).permute(2, 0, 1)
        tokens = torch.cat([self.class_embedding.expand(1, len(x), 6), patches])
        return self.last(self.inner(tokens)[:1])


def test_tokens_that_come_before_the_stimuli_are_seen_as_such():
    network = _TokensFirst().eval()
    for n_stimuli in (1, 3, 17):  # 17 tokens: as many as stimuli
        x = torch.rand(n_stimuli, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        reader = LayerReader(network, ["inner", "last"], example=x[:1])
        maps = network.conv(x).detach()
        torch.testing.assert_close(reader.read(x, "cls")["inner"], torch.ones(n_stimuli, 6))
        torch.testing.assert_close(reader.read(x, "cls")["last"], torch.ones(n_stimuli, 6))
        inner = LayerReader(network, ["inner"], example=x[:1])
        torch.testing.assert_close(inner.read(x, "patch_average")["inner"], maps.mean((2, 3)))
        torch.testing.assert_close(inner.read(x, "average")["inner"], (maps.sum((2, 3)) + 1) / 17)


def test_channels_before_tokens_are_seen_as_such():
    network, x = _drawn("mixer_s16_224", {"img_size": 64})
    reader = LayerReader(network, ["blocks.0.mlp_tokens"], example=x[:1])
    whole = reader.read(x)["blocks.0.mlp_tokens"]
    assert whole.shape == (2, 512, 16)
    torch.testing.assert_close(reader.read(x, "average")["blocks.0.mlp_tokens"], whole.mean(2))


def test_tokens_that_are_no_grid_are_averaged_but_not_parted():
    class Pruned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.kept = nn.Conv2d(3, 6, 4, 4), nn.Identity()

        def forward(self, x):
            return self.kept(self.conv(x).flatten(2).transpose(1, 2)[:, :7])

    network, x = Pruned().eval(), torch.rand(2, 3, 16, 16)
    reader = LayerReader(network, ["kept"], example=x[:1])
    torch.testing.assert_close(reader.read(x, "average")["kept"], network(x).mean(1).detach())
    with pytest.raises(UserError, match=r"which of the 7 tokens are patches.*; set n_prefix_tokens"):
        reader.read(x, "patch_average")
    stated = LayerReader(network, ["kept"], example=x[:1], n_prefix_tokens=2)
    torch.testing.assert_close(stated.read(x, "patch_average")["kept"], network(x)[:, 2:].mean(1).detach())


def _drawn(name, size):
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False, **size).eval()
        for parameter in network.parameters():  # tokens and scales that start at zero would hide a mistake
            nn.init.normal_(parameter, std=0.1)
    generator = torch.Generator().manual_seed(1)
    return network, torch.rand(2, 3, size["img_size"], size["img_size"], generator=generator)


@pytest.mark.slow
def test_the_stages_of_every_family_of_timm_are_as_wide_as_timm_says():
    import timm

    n_stages, refused = 0, []
    for family in timm.list_modules():
        name = min(timm.list_models(module=family), key=lambda name: ("tiny" not in name, len(name), name))
        network = build_on_meta(_entry("timm", name, ["x"]))
        stated = getattr(network, "feature_info", None)
        parts = dict(network.named_modules())
        widths = {
            stage["module"]: stage["num_chs"]
            for stage in (stated if isinstance(stated, list) else ())
            if stage["module"] and stage["module"] in parts
        }
        example = torch.empty(1, *network.pretrained_cfg["input_size"], device="meta")
        try:
            if widths:
                assert LayerReader(network, list(widths), example=example).widths("average") == widths, name
                n_stages += len(widths)
        except UserError as error:
            refused.append((name, str(error)))
    assert n_stages > 150
    honest = ("does not return a single tensor", "is never called", "is called")
    assert [case for case in refused if not any(words in case[1] for words in honest)] == []

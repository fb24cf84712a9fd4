"""The 64 networks of the study: all can be built, give the widths of the study, and are labelled rightly."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from rep_kedro.features.cards import compute_model_cards
from rep_kedro.models.outline import outline_network
from rep_kedro.models.sources.loaded import LoadedModel, read_layers
from rep_kedro.models.sources.specs import OpenClipModel, TimmModel, TorchvisionModel, WeightsFileModel
from rep_kedro.models.sources.zoo import build_model, resolve_preprocessing, runner_of

MISLABELLED = {
    *("vit_base_patch16_224", "vit_large_patch16_224", "convnext_base", "convnext_large"),
    *("swin_base_patch4_window7_224", "swin_large_patch4_window7_224"),
    *("swin_base_patch4_window7_224.ms_in22k", "swin_large_patch4_window7_224.ms_in22k"),
}
SMALL = [
    *("resnet50", "resnext50_32x4d", "seresnet50", "simclr-rn50", "dino-vit-small-p16"),
    *(
        "dinov2-vit-small-p14",
        "dino-xcit-small-12-p16",
        "swin_base_patch4_window7_224",
        "OpenCLIP_RN50_openai",
    ),
]
OBJECTIVES = {"Sup": "supervised", "SSL": "self-supervised", "Img-Txt": "image-text"}
CLASSES = {"CNN": "convolutional", "TX": "transformer"}


def _widths(params, names):
    """Return the number of features of each layer that is read, by network."""
    entries = {name: params.entries()[name] for name in names}
    return {
        name: list(outline_network(entry).reader.widths(entry.pooling or params.pooling).values())
        for name, entry in entries.items()
    }


def test_they_are_the_networks_of_the_study(networks, published):
    assert set(networks.entries()) == set(published)
    assert len(published) == 64
    assert networks.networks == []


@pytest.mark.slow
def test_each_gives_features_as_wide_as_in_the_study(networks, published):
    widths = _widths(networks, published)
    assert widths == {name: [int(row["width"])] for name, row in published.items()}
    assert sum(width for (width,) in widths.values()) == 84_480


def test_objectives_and_architecture_classes_are_those_of_the_study(networks, published):
    entries = networks.entries()
    for name, row in published.items():
        assert entries[name].objective == OBJECTIVES[row["objective"]]
        assert entries[name].architecture_class == CLASSES[row["architecture_class"]]
    assert Counter(entry.objective for entry in entries.values()) == {
        "supervised": 30,
        "self-supervised": 20,
        "image-text": 14,
    }


def test_training_data_differ_from_the_study_only_where_its_labels_are_wrong(networks, published):
    def plain(text):
        return text.replace("-", "").lower()

    differing = {
        name
        for name, entry in networks.entries().items()
        if plain(entry.trained_on) != plain(published[name]["trained_on"])
    }
    assert differing == MISLABELLED


@pytest.mark.parametrize("name", sorted(MISLABELLED))
def test_weights_that_were_mislabelled_name_the_larger_set_in_their_tag(networks, name):
    tag = networks.entries()[name].name.partition(".")[2]
    assert "in21k" in tag or "in22k" in tag
    assert "ImageNet-21k" in networks.entries()[name].trained_on


def test_every_name_and_tag_is_known_to_its_library(all_groups):

    import open_clip
    import timm
    from torchvision.models import get_model_weights

    tags = set(timm.list_pretrained())
    for entry in all_groups.entries().values():
        match entry:
            case TimmModel():
                assert entry.name in tags
            case TorchvisionModel():
                assert entry.weights in get_model_weights(entry.name).__members__
            case OpenClipModel():
                assert entry.pretrained in open_clip.list_pretrained_tags_by_model(entry.name)
            case WeightsFileModel():
                assert entry.path.startswith("$REP_PAPER_WEIGHTS/")


def test_weights_of_image_text_models_meet_the_activation_they_were_trained_with(all_groups):
    import open_clip

    for entry in all_groups.entries().values():
        if isinstance(entry, OpenClipModel):
            asked = open_clip.get_pretrained_cfg(entry.name, entry.pretrained).get("quick_gelu", False)
            assert open_clip.get_model_config(entry.name).get("quick_gelu", False) == asked


@pytest.mark.slow
def test_parameters_are_counted_as_in_the_study_where_it_counts_the_same_module(networks, published):
    same = [name for name, row in published.items() if row["source"] in {"timm", "torchvision"}]
    handle = SimpleNamespace(meta={"layers": ["x"], "final_layer": "x"}, shape=lambda _: (1, 1))
    cards = compute_model_cards({}, {f"dots/{name}": handle for name in same}, networks)
    assert dict(zip(cards["model"], cards["n_parameters"], strict=True)) == {
        name: int(published[name]["n_parameters"]) for name in same
    }
    assert len(same) == 31


def test_further_networks_stand_in_groups_that_are_left_alone_unless_asked_for(networks, all_groups):
    assert {group: len(found) for group, found in networks.model_groups.items()} == {
        "aligned": 9,
        "places": 8,
        "middle": 36,
    }
    assert len(all_groups.entries()) == 64 + 53
    widths = _widths(all_groups, networks.model_groups["places"])
    assert sorted(widths.values()) == sorted(2 * [[4096], [2208], [512], [2048]])
    for name, entry in networks.model_groups["middle"].items():
        (layer,) = entry.layers
        assert int(layer.rpartition(".")[2]) in {5, 11, 15, 19}
        assert name.removesuffix("_mid") in networks.models


ALIGNED = {
    "dinov2-vit-large-p14_gLocal": 1024,
    "dino-vit-base-p16_gLocal": 768,
    "OpenCLIP_ViT-L-14_laion400m_e32_gLocal": 768,
    "OpenCLIP_ViT-L-14_laion2b_s32b_b82k_gLocal": 768,
    "vgg16_gLocal": 4096,
    "resnet50_gLocal": 2048,
    "DreamSim_dino_vitb16": 768,
    "DreamSim_open_clip_vitb32": 768,  # before the projection to 512
    "vit_large_patch14_clip_224.laion2b": 1024,
}


def test_aligned_networks_read_what_the_map_is_for(networks, all_groups):
    group = networks.model_groups["aligned"]
    assert _widths(all_groups, group) == {name: [width] for name, width in ALIGNED.items()}
    for name, entry in group.items():
        assert bool(entry.alignment) == (name.endswith("_gLocal") or name == "DreamSim_open_clip_vitb32")
        plain = networks.models.get(name.removesuffix("_gLocal"))
        if plain is not None:
            assert entry.model_copy(update={"alignment": None}) == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_two_images_go_through_with_drawn_weights(networks, published, name):
    entry = networks.entries()[name]
    side = resolve_preprocessing(entry).size_px
    module = build_model(entry, with_weights=False)
    model = LoadedModel(module, resolve_preprocessing(entry), entry.layers, run=runner_of(module))
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    pooling = entry.pooling or networks.pooling
    ((layer, features),) = read_layers(model, images[:1]).read(images, pooling).items()
    assert layer == entry.layers[0]
    assert features.shape == (2, int(published[name]["width"]))
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])

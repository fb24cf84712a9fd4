"""Shipped architectures: those small enough to run, of every family, and all that are layers as data."""

from rep_kedro.models.architecture import Architecture
from rep_kedro.models.architecture_files import FOLDER, list_architectures, load_definition

WRITTEN_OUT = sorted(list_architectures() & {path.stem for path in FOLDER.glob("*.yml")})
SHIPPED = [
    *WRITTEN_OUT,
    *("cnn_a", "conv_small_sigmoid", "marabou_small", "mlp_6x100", "oval_deep"),
    *("resnet20", "resnet20_a", "resnet56_a", "resnet18_XXS", "resnet18highway", "squeezenet11res"),
    *("vgg11_XXXS", "vgg13_d2", "vgg13lin_readout"),
]
LAYERED = [name for name in sorted(list_architectures()) if isinstance(load_definition(name), Architecture)]

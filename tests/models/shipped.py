"""Shipped architectures that are small enough to run: each written out, and some of every family."""

from rep_kedro.models.architecture_files import FOLDER, list_architectures

WRITTEN_OUT = sorted(list_architectures() & {path.stem for path in FOLDER.glob("*.yml")})
SHIPPED = [
    *WRITTEN_OUT,
    *("cnn_a", "conv_small_sigmoid", "marabou_small", "mlp_6x100", "oval_deep"),
    *("resnet20", "resnet20_a", "resnet56_a", "resnet18_XXS", "resnet18highway", "squeezenet11res"),
    *("vgg11_XXXS", "vgg13_d2", "vgg13lin_readout"),
]

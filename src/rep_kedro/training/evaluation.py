"""What is measured of a network after each epoch."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from rep_kedro.kernels.layers.spectrum import measure_rankme_uncentred_sigma
from rep_kedro.kernels.precision import accumulation_dtype
from rep_kedro.models.network import Network
from rep_kedro.training.metrics import measure_metrics
from rep_kedro.training.objectives.protocol import embed
from rep_kedro.training.own_code import OwnCode
from rep_kedro.training.stimuli import EVALUATION_BATCH, LabelledImages, Split, TrainingStimuli


def evaluate(
    network: Network,
    projector: nn.Module,
    stimuli: TrainingStimuli,
    device: str,
    *,
    announce: Callable[[Split], None],
    metrics: Sequence[str | OwnCode] = (),
) -> dict[str, float]:
    """Return the accuracies on both splits; without a head, the rank of the training images' embeddings.

    Of several labels of an image the accuracy is the share of right decisions, one for each class.

    Args:
        network: Of any mode; evaluation mode afterwards.
        projector: Between representation and loss.
        stimuli: Images of both splits.
        device: Where the network is.
        announce: Called before the forward passes over a split, in evaluation mode.
        metrics: Further metrics of the test images, of networks with a head.
    """
    network.eval()
    projector.eval()
    if network.n_classes is None:
        announce("train")
        outputs = torch.cat(list(_outputs(network, projector, stimuli.train, device)))
        embeddings = outputs.to(accumulation_dtype(device))
        if not bool(torch.isfinite(embeddings).all()):
            return {}
        return {"embedding_rankme": measure_rankme_uncentred_sigma(torch.linalg.svdvals(embeddings).cpu())}
    found: dict[str, float] = {}
    splits: tuple[tuple[Split, LabelledImages], ...] = (("train", stimuli.train), ("test", stimuli.test))
    for split, images in splits:
        if images.labels is None or len(images.images) == 0:
            continue
        announce(split)
        logits = torch.cat([each.cpu() for each in _outputs(network, nn.Identity(), images, device)])
        if images.labels.ndim == 2:
            found[f"{split}_label_accuracy"] = float(((logits > 0) == (images.labels > 0)).double().mean())
            continue
        n_right = int((logits.argmax(dim=1) == images.labels).sum())
        found[f"{split}_accuracy"] = n_right / len(images.images)
        if split == "test":
            further = measure_metrics(metrics, logits, images.labels)
            found |= {f"test_{name}": value for name, value in further.items()}
    return found


def _outputs(network: Network, projector: nn.Module, images: LabelledImages, device: str) -> Iterator[Tensor]:
    network.eval()
    projector.eval()
    with torch.no_grad():
        for start in range(0, len(images.images), EVALUATION_BATCH):
            batch = images.images[start : start + EVALUATION_BATCH]
            yield embed(network, projector, batch.to(device).float() / 255)

"""One training on several devices of a machine: every process runs its share of each batch.

The processes take the same steps with the same random numbers. A batch is divided where it enters the
network; what the network gives is gathered again, so that projector, loss and evaluation see the whole batch
in every process, whatever the objective. Batch norms take the statistics of the whole batch. The gradients of
the network are those of the shares and are summed; all others are those of the whole batch. The result is
that of one device but for the order of sums (docs/adr/0013).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
_LARGE = 100_000  # numbers of a gradient that is exchanged where it is; smaller ones are exchanged together


class Processes:
    """The processes of one training, as one of them sees them; they exist as long as this process.

    Args:
        folder: An empty folder, where they find each other.
        rank: Of this process; the one of rank 0 stores and reports.
        n: How many there are.
        kind: Of the devices, `cpu` or `cuda`.

    Attributes:
        device: Of this process.
    """

    def __init__(self, folder: Path, rank: int, n: int, kind: str) -> None:
        self.rank, self.n = rank, n
        self.device = kind if kind == "cpu" else f"{kind}:{rank}"
        self._is_sharing = True
        if kind == "cuda":
            torch.cuda.set_device(rank)
        dist.init_process_group(
            _BACKENDS[kind], init_method=f"file://{folder / 'processes'}", rank=rank, world_size=n
        )

    def share(self, network: nn.Module) -> None:
        """Let the network run the share of this process, and give the outputs of all."""
        modes: list[_JointBatchNorm] = []

        def divide(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            if not self._is_sharing:
                return inputs
            divided = (self._divide(inputs[0]), *inputs[1:])
            if module.training:
                modes.append(_JointBatchNorm(self.n))
                modes[-1].__enter__()  # type: ignore[no-untyped-call]
            n_images.append(len(inputs[0]))
            return divided

        def gather(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None) -> Tensor | None:
            if modes:
                modes.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]
            if output is None or not self._is_sharing:  # the network failed
                return output
            return self._gather(output)[: n_images.pop()]

        n_images: list[int] = []
        network.register_forward_pre_hook(divide)
        network.register_forward_hook(gather, always_call=True)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Run whole batches in every process meanwhile."""
        self._is_sharing = False
        try:
            yield
        finally:
            self._is_sharing = True

    def join_gradients(self, of_network: Iterable[nn.Parameter], others: Iterable[nn.Parameter]) -> None:
        """Replace gradients by those of the whole batch, the same bits in every process."""
        equal = [each.grad for each in others if each.grad is not None]
        for gradient in equal:
            gradient.div_(self.n)
        gradients = [*equal, *(each.grad for each in of_network if each.grad is not None)]
        small = [each for each in gradients if each.numel() < _LARGE]
        flat = torch.cat([each.flatten() for each in small])
        large = [each for each in gradients if each.numel() >= _LARGE]
        for waiting in [dist.all_reduce(each, async_op=True) for each in (flat, *large)]:
            waiting.wait()
        start = 0
        for gradient in small:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def _divide(self, images: Tensor) -> Tensor:
        """Return the images of this process; all processes get as many, the last ones copies if need be."""
        n_missing = -len(images) % self.n
        if n_missing:
            images = torch.cat([images, images[-1:].expand(n_missing, *images.shape[1:])])
        return images.chunk(self.n)[self.rank]

    def _gather(self, output: Tensor) -> Tensor:
        """Return the outputs of all processes, with the copies behind the last images."""
        joint: Any = _Gather.apply(output, self)  # type: ignore[no-untyped-call]
        return torch.as_tensor(joint)


class _Gather(torch.autograd.Function):
    """From the outputs of one process to those of all; every process has the gradient of the whole."""

    @staticmethod
    def forward(context: Any, output: Tensor, processes: Processes) -> Tensor:
        context.processes = processes
        parts = [torch.empty_like(output) for _ in range(processes.n)]
        dist.all_gather(parts, output.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].chunk(context.processes.n)[context.processes.rank], None


class _JointBatchNorm(TorchFunctionMode):
    """Batch norms, whoever calls them, take mean and variance over the shares of all processes."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._n = n

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is nn.functional.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return nn.functional.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
        wide = x if x.dtype == torch.float64 else x.float()
        normed, mean, variance = _joint_batch_norm(wide, weight, bias, eps, self._n)
        if running_mean is not None and running_var is not None:
            n = x.numel() // x.shape[1] * self._n
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * n / (n - 1)).to(running_var.dtype), momentum)
        return normed.to(x.dtype)


class _BatchNorm(torch.autograd.Function):
    """Batch norm over equal shares of `n` processes: output, mean and variance of the whole batch."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, n: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = torch.stack(torch.batch_norm_update_stats(x, None, None, 0.0))
        parts = [torch.empty_like(own) for _ in range(n)]
        dist.all_gather(parts, own)
        means, variances = torch.stack(parts).unbind(1)
        mean = means.mean(dim=0)
        variance = (variances + (means - mean) ** 2).mean(dim=0)
        context.save_for_backward(x, weight, mean, variance)
        context.eps, context.n_values, context.has_bias = eps, x.numel() // x.shape[1] * n, bias is not None
        context.mark_non_differentiable(mean, variance)
        return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = context.saved_tensors
        # as if mean and variance were constants; then what the output depends on them
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, weight, mean, variance, None, None, False, context.eps, [True, True, True]
        )
        sums = torch.stack([of_bias, of_weight])
        dist.all_reduce(sums)
        inverse = (variance + context.eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        constant, slope = (sums / context.n_values * scale).unbind()
        slope = slope * inverse
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        of_x = of_x.sub_((constant - slope * mean).view(shape)).addcmul_(x, slope.view(shape), value=-1)
        own = (None if weight is None else of_weight, of_bias if context.has_bias else None)
        return of_x, *own, None, None


def _joint_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    found: Any = _BatchNorm.apply(x, weight, bias, eps, n)  # type: ignore[no-untyped-call]
    normed, mean, variance = found
    return normed, mean, variance

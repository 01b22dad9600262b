"""Activations thrown away in the forward pass and computed again in the backward pass (Chen et al. 2016, arXiv:1604.06174).

What a training keeps of a network is then the input of each block, and during the backward pass the inside of one block at a
time. Nothing else changes: losses, gradients and what layers remember are bit for bit those of a training that keeps all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gan_lab.models.conditioning import ConditionalSequential

FAMILIES = ("dcgan", "dcgan_cifar", "sngan", "progan", "srgan", "esrgan")
"""Built of :class:`CheckpointedBlocks`, with all that is built from them."""


class CheckpointedBlocks(ConditionalSequential):
    """Layers one after the other, in blocks whose inside may be thrown away.

    They are numbered as in one row, so that the names of the weights tell nothing of blocks. The first layer of a block must
    not work in place: the block's input is what is kept.

    Args:
        layers: of all blocks. Without ``starts`` they are one.
        starts: number of the first layer of each block.

    Attributes:
        recompute: whether what is inside is thrown away.
    """

    checkpoint_activations = False

    def __init__(self, *layers: nn.Module, starts: Sequence[int] = (0,)) -> None:
        super().__init__(*layers)
        self._starts = tuple(starts)

    @classmethod
    def from_blocks(cls, blocks: Sequence[Sequence[nn.Module]]) -> CheckpointedBlocks:
        """From the layers of each block."""
        starts = accumulate(map(len, blocks[:-1]), initial=0)
        return cls(*(layer for block in blocks for layer in block), starts=tuple(starts))

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        if not (self.checkpoint_activations and torch.is_grad_enabled()):
            return super().forward(maps, labels)
        for start, end in pairwise([*self._starts, len(self)]):
            maps = _recomputed(self[start:end], maps, labels)
        return maps


def enable_activation_checkpointing(network: nn.Module) -> None:
    """Have ``network`` throw away what is inside its blocks, from here on and in copies of it.

    Raises:
        ValueError: it has no blocks.
    """
    blocks = [module for module in network.modules() if isinstance(module, CheckpointedBlocks)]
    if not blocks:
        raise ValueError(
            f"activation_checkpointing=true: {type(network).__module__}.{type(network).__name__} has no blocks to recompute; "
            f"set activation_checkpointing=false or choose a model of the families {', '.join(FAMILIES)}"
        )
    for module in blocks:
        module.checkpoint_activations = True


def _recomputed(block: nn.Module, maps: Tensor, labels: Tensor | None) -> Tensor:
    return checkpoint(block, maps, labels, use_reentrant=False, context_fn=lambda: (nullcontext(), _RestoredBuffers(block)))


class _RestoredBuffers:
    """A context in which the buffers of ``block`` are what they were when it was made; may be entered again.

    A pass in training mode changes them, running statistics and spectral normalisation's vectors; the second pass has to begin
    where the first one did and to leave no trace. Tensors are exchanged, not written to: other passes may have kept them.
    """

    def __init__(self, block: nn.Module) -> None:
        self._places = [
            (module, name, buffer.clone()) for module in block.modules() for name, buffer in module.named_buffers(recurse=False)
        ]

    def __enter__(self) -> None:
        self._present = [getattr(module, name) for module, name, _ in self._places]
        for module, name, before in self._places:
            setattr(module, name, before.clone())  # a penalty differentiates twice, and has it computed a third time

    def __exit__(self, *error: object) -> None:
        for (module, name, _), present in zip(self._places, self._present, strict=True):
            setattr(module, name, present)

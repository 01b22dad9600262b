"""Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): activations are recomputed in the backward pass, not stored.

A network then stores the input of each block, and during the backward pass the activations inside one block at a time.
Losses, gradients, buffers and random numbers are bit for bit those of training without checkpointing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gan_lab.models.conditioning import ConditionalSequential
from gan_lab.models.layers import Frozen

FAMILIES = ("dcgan", "dcgan_cifar", "sngan", "progan", "r3gan", "stylegan2", "fastgan", "projected", "srgan", "esrgan")
"""Modules of ``gan_lab.models`` whose networks are built of :class:`CheckpointedBlocks`; named in an error message."""


class CheckpointedBlocks(ConditionalSequential):
    """A sequence of layers, divided into blocks whose inner activations may be recomputed.

    Layers are numbered as in one sequence, so the names of the parameters don't depend on the blocks. The first layer of a
    block must not work in place, because the block's input is what is stored.

    Args:
        layers: of all blocks.
        starts: index of the first layer of each block; by default all layers are one block.

    Attributes:
        checkpoint_activations: whether the activations inside the blocks are recomputed.
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
            maps = _checkpointed(self[start:end], maps, labels)
        return maps


def enable_activation_checkpointing(network: nn.Module) -> None:
    """Make ``network``, and all later copies of it, recompute the activations inside its blocks.

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


def _checkpointed(block: nn.Module, maps: Tensor, labels: Tensor | None) -> Tensor:
    return checkpoint(block, maps, labels, use_reentrant=False, context_fn=lambda: (nullcontext(), _RestoredBuffers(block)))


class _RestoredBuffers:
    """A context in which the buffers of ``block`` have the values they had when it was created; may be entered repeatedly.

    A forward pass in training mode changes buffers: running statistics and the vectors of spectral normalization. The second
    pass must start from the same values as the first and leave the current ones unchanged. Tensors are exchanged instead of
    written to, because the graph of another pass may hold them.
    """

    def __init__(self, block: nn.Module) -> None:
        changing = [module for module in block.modules() if not isinstance(module, Frozen)]
        self._saved = [
            (module, name, buffer.clone()) for module in changing for name, buffer in module.named_buffers(recurse=False)
        ]

    def __enter__(self) -> None:
        self._current = [getattr(module, name) for module, name, _ in self._saved]
        for module, name, saved in self._saved:
            setattr(module, name, saved.clone())  # a clone: penalties differentiate twice and recompute a third time

    def __exit__(self, *error: object) -> None:
        for (module, name, _), current in zip(self._saved, self._current, strict=True):
            setattr(module, name, current)

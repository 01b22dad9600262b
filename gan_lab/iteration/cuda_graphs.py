"""CUDA graphs as recorder of iterations (PyTorch's documentation, "CUDA graphs")."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class CUDAGraphs:
    """A :class:`GraphRecorder` for CUDA. The graphs share their memory, since only one of them runs at a time.

    Recordings and their warm-up run on one side stream, as CUDA requires.

    Args:
        device: a CUDA device.
        generators: random generators that iterations draw from, other than the device's default one.
    """

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator]) -> None:
        self._device, self._generators = device, tuple(generators)
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Callable[[], None]) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        gc.collect()  # a dead reference cycle may hold an autograd graph that belongs to another stream
        graph, current, states = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device), self._random_states()
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            # thread_local: another thread may write a checkpoint meanwhile
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError:
            torch.cuda.set_stream(current)  # torch.cuda.graph leaves its own stream current if the recording is invalid
            self._replace_random_states(states)
            raise
        return graph.replay

    def _random_states(self) -> list[tuple[torch.Generator, Tensor]]:
        default = torch.cuda.default_generators[
            torch.cuda.current_device() if self._device.index is None else self._device.index
        ]
        return [(generator, generator.get_state()) for generator in (default, *self._generators)]

    def _replace_random_states(self, states: Sequence[tuple[torch.Generator, Tensor]]) -> None:
        """Give the generators new states with the given content: after a failure theirs may still count as being captured."""
        for generator, state in states:
            fresh = torch.Generator(self._device)
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh.graphsafe_get_state())

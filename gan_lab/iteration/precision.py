"""The number format of a training step: autocast, loss scaling, TF32, emulated rounding."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn.functional import conv2d, conv_transpose2d

from gan_lab.iteration.cuda_graphs import CUDAGraphs
from gan_lab.iteration.fixed_point import FixedPoint
from gan_lab.iteration.runner import WARMUP

log = logging.getLogger(__name__)

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
PARAM_DTYPES = {"float32": torch.float32, "float64": torch.float64}

SLOWER_FACTOR = 1.2
"""Ratio to the time of float32 above which a format is reported as slower; smaller ratios may be noise."""

SLOW_TRIAL_SECONDS = 0.1
"""A trial that takes longer, in seconds, is not repeated: the format is probably emulated in software."""


class Precision:
    """Autocast, loss scaling, TF32 and rounding on one device.

    Parameters, optimizer state, logits and losses always have type ``param_dtype``. Autocast sets the format of the layers;
    rounding sets that of the factors of their products.

    Args:
        device: of the training.
        autocast: ``bfloat16``, ``float16`` or None.
        loss_scaling: whether each network gets a gradient scaler; float16 needs one, or its gradients underflow.
        tf32: whether float32 products may run on TF32 tensor cores (10 bits of mantissa).
        param_dtype: ``float32`` or ``float64``, of both networks.
        rounding: an emulated format, or None.

    Attributes:
        dtype: the type of autocast, or None.
        param_dtype: the type of the parameters.

    Raises:
        ValueError: the device does not support the precision, or arguments can't be combined.
    """

    def __init__(
        self,
        device: torch.device,
        autocast: str | None = None,
        loss_scaling: bool = False,
        tf32: bool = False,
        param_dtype: str = "float32",
        rounding: FixedPoint | None = None,
    ) -> None:
        if autocast is not None and autocast not in AUTOCAST:
            raise ValueError(f"autocast={autocast}: must be one of {', '.join(AUTOCAST)} or null")
        if param_dtype not in PARAM_DTYPES:
            raise ValueError(f"param_dtype={param_dtype}: must be one of {', '.join(PARAM_DTYPES)}")
        if autocast is not None and (rounding is not None or param_dtype != "float32"):
            raise ValueError("precision: autocast can only be combined with param_dtype=float32 and without rounding")
        self.device = device
        self.dtype = AUTOCAST[autocast] if autocast else None
        self.param_dtype = PARAM_DTYPES[param_dtype]
        self.rounding = rounding
        self.loss_scaling = loss_scaling
        if rounding is not None:
            rounding.to(device)
        if tf32:
            _require_tf32(device)
        if self.dtype is not None:
            _require_autocast(device, self.dtype)
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32  # PyTorch's default is true, even for fp32

    @property
    def is_emulated(self) -> bool:
        """Whether the format is emulated by rounding."""
        return self.rounding is not None

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which layers compute in this precision, except inside ``torch.autocast(..., enabled=False)``."""
        if self.rounding is not None:
            return self.rounding(self.device)
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def make_scaler(self) -> torch.amp.GradScaler:
        """A new gradient scaler; without loss scaling it is disabled and changes nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.loss_scaling)

    def state_dict(self) -> dict[str, Any]:
        """The random state of the emulation."""
        return {} if self.rounding is None else self.rounding.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.rounding is not None and state:
            self.rounding.load_state_dict(state)

    @property
    def generators(self) -> list[torch.Generator]:
        """Random generators that the emulation draws from."""
        return [] if self.rounding is None else [self.rounding.generator]

    def warn_if_slow(self, captured: bool = False) -> None:
        """Log a warning if this format is slower than float32 here.

        Args:
            captured: whether iterations are captured as CUDA graphs, so that launching kernels takes no time.
        """
        if self.is_emulated:
            log.warning("precision: emulated, which is slower than fp32; it shows the effect of the format, not its speed")
        elif self.param_dtype is torch.float64:
            log.warning("precision: fp64 is several times slower than fp32; it is meant as a reference for other precisions")
        elif self.dtype is not None and (slower := self._slower_than_float32(captured)) > SLOWER_FACTOR:
            name = str(self.dtype).removeprefix("torch.")
            log.warning("precision: %s takes %.1f times as long as fp32 here, according to a trial", name, slower)

    def _slower_than_float32(self, captured: bool) -> float:
        assert self.dtype is not None
        return _time_relative_to_float32(self.device, self.dtype, captured)


@functools.cache
def _time_relative_to_float32(device: torch.device, dtype: torch.dtype, captured: bool) -> float:
    """Time of a convolution and its gradients divided by that in float32; each is the minimum of several trials, made once."""
    count, channels = (64, 128) if device.type == "cuda" else (16, 32)
    images = torch.ones(count, channels, 16, 16, device=device, requires_grad=True)
    weight = torch.ones(64, channels, 4, 4, device=device, requires_grad=True)

    def convolve(enabled: bool) -> None:
        images.grad = weight.grad = None
        with torch.autocast(device.type, dtype, enabled=enabled):
            conv2d(images, weight, stride=2, padding=1).float().sum().backward()

    def work(enabled: bool) -> Callable[[], None]:
        if not captured:
            return lambda: convolve(enabled)
        graphs = CUDAGraphs(device, [])
        for _ in range(WARMUP):
            graphs.warm_up(lambda: convolve(enabled))
        return graphs.record(lambda: convolve(enabled))

    def seconds(run: Callable[[], None]) -> float:
        begun = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    reduced, full = work(True), work(False)
    first = seconds(reduced) + seconds(full)  # includes choosing algorithms
    trials = [(seconds(reduced), seconds(full)) for _ in range(1 if first > SLOW_TRIAL_SECONDS else 5)]
    return min(each for each, _ in trials) / min(each for _, each in trials)


def _require_tf32(device: torch.device) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        raise ValueError(
            f"precision=tf32 needs an NVIDIA GPU of compute capability 8.0 or above; the device is {device}: use precision=fp32"
        )


def _require_autocast(device: torch.device, dtype: torch.dtype) -> None:
    """Check by a trial that a device supports a format, because PyTorch has no function that tells."""
    name = str(dtype).removeprefix("torch.")
    try:
        with torch.autocast(device.type, dtype):
            images = torch.zeros(2, 4, 8, 8, device=device)
            weight = torch.zeros(4, 4, 4, 4, device=device, requires_grad=True)
            conv2d(conv_transpose2d(images, weight, stride=2, padding=1), weight, stride=2, padding=1).float().sum().backward()
    except RuntimeError as error:
        raise ValueError(f"precision: {device} can't train in {name} ({error}); use precision=fp32") from error

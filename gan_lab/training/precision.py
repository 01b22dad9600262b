"""Number formats of a training step: one code path for all of them."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, conv_transpose2d

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """Autocast, loss scaling and TF32 on one device.

    Parameters, optimizer state, logits and losses are float32 in every mode; autocast chooses the format of the layers.

    Args:
        device: where training happens.
        autocast: ``bfloat16``, ``float16`` or None.
        loss_scaling: whether each player gets a gradient scaler; float16 needs one, its gradients underflow otherwise.
        tf32: whether float32 products may run on TF32 tensor cores (10 bits of mantissa).

    Raises:
        ValueError: the device can't do it.
    """

    def __init__(
        self, device: torch.device, autocast: str | None = None, loss_scaling: bool = False, tf32: bool = False
    ) -> None:
        if autocast is not None and autocast not in AUTOCAST:
            raise ValueError(f"autocast={autocast}: must be one of {', '.join(AUTOCAST)} or null")
        self.device = device
        self.dtype = AUTOCAST[autocast] if autocast else None
        self.loss_scaling = loss_scaling
        if tf32:
            _require_tf32(device)
        if self.dtype is not None:
            _require_autocast(device, self.dtype)
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32  # true by default: fp32 would not be what it says

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """A new scaler, one for each player; without loss scaling it passes everything through."""
        return torch.amp.GradScaler(self.device.type, enabled=self.loss_scaling)


def _require_tf32(device: torch.device) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        raise ValueError(
            f"precision=tf32 needs an NVIDIA GPU of compute capability 8.0 or above; here is {device}: use precision=fp32"
        )


def _require_autocast(device: torch.device, dtype: torch.dtype) -> None:
    """Try the layers a GAN is made of: whether a build and a processor support a format is not written down anywhere."""
    name = str(dtype).removeprefix("torch.")
    try:
        with torch.autocast(device.type, dtype):
            images = torch.zeros(2, 4, 8, 8, device=device)
            weight = torch.zeros(4, 4, 4, 4, device=device, requires_grad=True)
            conv2d(conv_transpose2d(images, weight, stride=2, padding=1), weight, stride=2, padding=1).float().sum().backward()
    except RuntimeError as error:
        raise ValueError(f"precision: {device} can't train in {name} ({error}); use precision=fp32") from error

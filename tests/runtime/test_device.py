"""Devices and the state of their backends."""

from __future__ import annotations

import pytest
import torch

from gan_lab.runtime.device import without_tf32


def test_scores_are_computed_without_tf32_whatever_the_training_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flags:
        allow_tf32 = True

    matmul, cudnn, seen = Flags(), Flags(), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)

    @without_tf32()
    def measure() -> None:
        seen.append((matmul.allow_tf32, cudnn.allow_tf32))

    for _ in range(2):
        measure()
    assert seen == [(False, False)] * 2 and matmul.allow_tf32 and cudnn.allow_tf32

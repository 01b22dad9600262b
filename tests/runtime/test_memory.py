"""Out-of-memory errors and the settings they suggest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from helpers import SMALL

from gan_lab.runtime.memory import MemoryOptions, explain_out_of_memory, release_memory
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory

OPTIONS = MemoryOptions(batch_size=64, gradient_accumulation_steps=1, precision="fp32", activation_checkpointing=False)


def allocate_too_much() -> None:
    torch.empty(2**50, dtype=torch.uint8)  # a petabyte, beyond the address space: the allocator fails at once


@pytest.mark.parametrize(
    ("error", "device"),
    [
        (None, "machine"),
        (MemoryError(), "machine"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), "machine"),
        (RuntimeError("std::bad_alloc"), "machine"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "GPU"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "GPU"),
    ],
    ids=["allocator", "python", "windows", "c++", "cuda", "cublas"],
)
def test_an_out_of_memory_error_suggests_settings(error: Exception | None, device: str) -> None:
    with pytest.raises(ValueError, match="memory") as raised, explain_out_of_memory(lambda: OPTIONS):
        if error is None:
            allocate_too_much()
        else:
            raise error
    assert str(raised.value).startswith(
        f"the memory of the {device} is full with batch_size=64 gradient_accumulation_steps=1 "
        "precision=fp32 activation_checkpointing=false; "
        "try batch_size=64 gradient_accumulation_steps=2, activation_checkpointing=true, "
        "batch_size=32, precision=bf16, a smaller model.width"
    )


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("memory"), KeyError("out of memory")])
def test_other_errors_are_not_changed(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, explain_out_of_memory(lambda: OPTIONS):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("options", "suggestions"),
    [
        (
            MemoryOptions(6, 2, "bf16", False),
            ["batch_size=6 gradient_accumulation_steps=3", "activation_checkpointing=true", "batch_size=2"],
        ),
        (
            MemoryOptions(64, 1, "tf32", True, processes=4),
            ["batch_size=64 gradient_accumulation_steps=2", "batch_size=32", "precision=bf16"],
        ),
        (MemoryOptions(8, 1, "fp64", True, processes=8), ["precision=fp32"]),
        (MemoryOptions(1, 1, "fp16", True), []),
    ],
)
def test_only_valid_settings_are_suggested(options: MemoryOptions, suggestions: list[str]) -> None:
    assert options.suggestions() == suggestions
    for batch_size, accumulate in re.findall(r"batch_size=(\d+)(?: gradient_accumulation_steps=(\d+))?", " ".join(suggestions)):
        assert int(batch_size) % (options.processes * int(accumulate or options.gradient_accumulation_steps)) == 0


def test_activations_are_freed_while_the_error_is_kept() -> None:
    activations: list[weakref.ref[torch.Tensor]] = []

    def step() -> None:
        activation = torch.zeros(3)
        activations.append(weakref.ref(activation))
        allocate_too_much()

    with pytest.raises(ValueError, match="memory") as kept, explain_out_of_memory(lambda: OPTIONS):
        step()
    assert kept.value.__cause__ is not None and activations[0]() is None


OUT_OF_MEMORY_SCRIPT = """
import torch
from gan_lab.train import main
from gan_lab.training.trainer import Trainer

step = Trainer.step


def step_until_out_of_memory(self, batch):
    step(self, batch)
    if self.progress.images == 96:
        torch.empty(2**50)


Trainer.step = step_until_out_of_memory
main()
"""


@pytest.mark.slow
def test_a_run_out_of_memory_ends_with_one_message_and_keeps_its_last_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(OUT_OF_MEMORY_SCRIPT)
    command = [sys.executable, "train.py", *SMALL, "epochs=3", "evaluation=none", "hydra.run.dir=run"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert (
        "error: the memory of the machine is full with batch_size=16 gradient_accumulation_steps=1 precision=fp32"
        in done.stderr
    )
    assert (
        "try batch_size=16 gradient_accumulation_steps=2, activation_checkpointing=true, batch_size=8, precision=bf16"
        in done.stderr
    )
    assert "resume=run" in done.stdout + done.stderr
    run = RunDirectory(tmp_path / "run")
    assert run.read_summary()["status"] == "failed"
    assert checkpoint.load(run.checkpoint("last"))["images"] == 64, "the checkpoint of the first epoch"


def test_the_memory_of_an_earlier_run_is_released() -> None:
    class Network:
        def __init__(self) -> None:
            self.tensors = [torch.ones(16_000) for _ in range(4_000)]  # 256 MB in blocks that the C library keeps
            self.cycle = self

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    release_memory()
    before = resident()
    network = Network()
    assert resident() > before + 200_000_000
    del network
    release_memory()
    assert resident() < before + 50_000_000

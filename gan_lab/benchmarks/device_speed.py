"""The speeds of ``benchmark=device``: images per second of each loop, and how much of the device's rate they use."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import Any

import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from gan_lab.benchmarks.bare_step import bare_step, steps_per_cycle
from gan_lab.benchmarks.device_comparison import check_finite
from gan_lab.benchmarks.device_environment import Environment
from gan_lab.benchmarks.timing import Action, interleaved, start_at_end, synchronizer
from gan_lab.benchmarks.tuning import captured_warnings
from gan_lab.benchmarks.tutorial import start_tutorial, tutorial_obstacle
from gan_lab.iteration.runner import WARMUP
from gan_lab.training.trainer import Trainer
from gan_lab.utils.formatting import first_line

BARE, EAGER, CAPTURED, TUTORIAL = "bare step", "eager loop", "captured loop", "tutorial loop"

NETWORKS: dict[str, tuple[str, ...]] = {
    "dcgan 64 px, color": ("model=dcgan", "dataset.size=64", "dataset.channels=3", "batch_size=128"),
    "dcgan 32 px": ("model=dcgan", "dataset.size=32", "dataset.channels=1", "batch_size=128"),
    "sngan 32 px, color": ("model=sngan", "dataset.size=32", "dataset.channels=3", "batch_size=64"),
    "progan_small 32 px, color": ("model=progan_small", "dataset.size=32", "dataset.channels=3", "batch_size=64"),
}
"""Overrides of each measured run, in the order of measurement; the widths are the published ones."""

ROUNDS = 3
MEASUREMENT_SECONDS = 0.25
"""Time of a measurement of the eager loop; the others take the same number of steps."""

MAX_STEPS = 200
WARMUP_STEPS = WARMUP + 5
TUTORIAL_STEPS = 30
TUTORIAL_WARMUP = 10

LARGE_CONVOLUTION = {"batch": 128, "channels": 512, "size": 32, "kernel": 3}
"""Shape of the convolution whose speed stands for the device's largest rate: 618 GFLOP."""

CONVOLUTION_SECONDS = 0.3


def measure_speed(environment: Environment, network: str, precision: str, tutorial: bool) -> dict[str, Any]:
    """Measure a run's loops alternately.

    Args:
        environment: where it runs; its ``steps`` are not used.
        network: one of :data:`NETWORKS`.
        precision: option of the group ``precision``.
        tutorial: whether to measure the loop of DCGAN tutorials as well, which has one precision, PyTorch's default.

    Returns:
        ``batch_size``, ``flops`` of an iteration, ``seconds`` of an iteration by loop, ``note`` about what went wrong.
    """
    overrides = [*NETWORKS[network], f"precision={precision}"]
    notes, trainers, synchronize = list[str](), dict[str, Trainer](), synchronizer(environment.device)
    with ExitStack() as stack:
        warnings = stack.enter_context(captured_warnings())
        for name in (EAGER, CAPTURED):
            trainer = trainers[name] = environment.build(*overrides, captured=name == CAPTURED, callbacks=True)
            start_at_end(trainer)
            stack.enter_context(trainer.progress.timer.running())
        eager = trainers[EAGER]
        bare, cycle = bare_step(eager, next(eager.loader.batches())), steps_per_cycle(eager)
        actions: dict[str, Action] = {BARE: bare, **{name: _loop(trainer) for name, trainer in trainers.items()}}
        interleaved(actions, 1, WARMUP_STEPS * cycle, synchronize)
        trial = interleaved({EAGER: actions[EAGER]}, 1, cycle, synchronize)[EAGER][0]
        steps = min(_round_up(math.ceil(MEASUREMENT_SECONDS / trial), cycle), _round_up(MAX_STEPS, cycle))
        seconds = interleaved(actions, ROUNDS, steps, synchronize)
    if reasons := [warning for warning in warnings if warning.startswith("capture")]:
        del seconds[CAPTURED]
        notes.append(reasons[0])
    for trainer in trainers.values():
        check_finite(trainer)
        trainer.records.tracker.finish(trainer.records.summary("finished"))
    result: dict[str, Any] = {"batch_size": eager.updater.growth_state.batch_size, "seconds": seconds, "flops": None}
    try:
        result["flops"] = count_flops(bare, cycle)
    except Exception as error:  # the counter is not part of what is measured
        notes.append(f"FLOPs not counted: {first_line(error)}")
    if tutorial and not tutorial_obstacle(environment.job(*overrides).cfg, eager.updater.gan):
        try:
            seconds[TUTORIAL] = _measure_tutorial(environment, overrides, eager)
        except Exception as error:  # a process of its own, such as on a GPU that accepts only one
            notes.append(f"{TUTORIAL}: {first_line(error)}")
    return {**result, "note": "; ".join(notes)}


def measure_convolution(device: torch.device, precision: str, shape: dict[str, int] = LARGE_CONVOLUTION) -> float:
    """FLOP/s of a large convolution's forward pass, in the faster memory format.

    Args:
        device: where it runs.
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        shape: see :data:`LARGE_CONVOLUTION`.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    batch, channels, size, kernel = (shape[name] for name in ("batch", "channels", "size", "kernel"))
    flops = 2 * batch * size**2 * channels**2 * kernel**2
    synchronize, rates = synchronizer(device), []
    for layout in (torch.contiguous_format, torch.channels_last):
        images = torch.randn(batch, channels, size, size, device=device).to(dtype, memory_format=layout)
        weight = torch.randn(channels, channels, kernel, kernel, device=device).to(dtype, memory_format=layout)
        with torch.no_grad():
            for _ in range(3):
                conv2d(images, weight, padding=kernel // 2)
            synchronize()
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < CONVOLUTION_SECONDS:
                conv2d(images, weight, padding=kernel // 2)
                count += 1
                synchronize()
            rates.append(flops * count / (time.perf_counter() - start))
    return max(rates)


def count_flops(step: Action, cycle: int) -> float:
    """FLOPs of a training step, averaged over a cycle of steps; multiplications and additions of products are counted."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with counter:
        for _ in range(cycle):
            step()
    return counter.get_total_flops() / cycle


class _NoModules:
    """Replaces the counter's division by module, whose hooks do not support ``torch.autograd.grad``, as penalties use it."""

    parents = frozenset(["Global"])

    def __enter__(self) -> None:
        """Nothing is registered."""

    def __exit__(self, *error: object) -> None:
        """Nothing is registered."""


def _loop(trainer: Trainer) -> Action:
    batches = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)
    return lambda: trainer.step(next(batches))


def _measure_tutorial(environment: Environment, overrides: list[str], trainer: Trainer) -> list[float]:
    """Seconds of a step of the tutorial's loop, once per round."""
    folder = environment.new_directory().path
    size = trainer.updater.growth_state.batch_size
    with start_tutorial(environment.job(*overrides).cfg, trainer, size, folder) as loop:
        loop.steps(TUTORIAL_WARMUP)
        return [loop.steps(TUTORIAL_STEPS) / TUTORIAL_STEPS]


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple

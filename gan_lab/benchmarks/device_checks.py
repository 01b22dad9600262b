"""The checks of ``benchmark=device``: short runs that are compared with each other, most important first."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial

import torch

from gan_lab.benchmarks.device_comparison import Trained, check_finite, describe_differences
from gan_lab.benchmarks.device_environment import (
    Check,
    Environment,
    Skipped,
    limited_memory,
    release_memory,
    stage,
)
from gan_lab.benchmarks.distributed import TORCHRUN
from gan_lab.benchmarks.tuning import captured_warnings
from gan_lab.building.precision import resolve_precision
from gan_lab.building.trainer import read_checkpoint, resume
from gan_lab.iteration.runner import WARMUP, GraphRunner
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.runtime.distributed import SINGLE_PROCESS
from gan_lab.runtime.memory import MemoryOptions, explain_out_of_memory
from gan_lab.training.trainer import Trainer
from gan_lab.utils.formatting import first_line

OUT_OF_TIME = "time"
"""Message of what was skipped because the time was up."""

PRECISIONS = ("fp32", "bf16", "fp16", "tf32")
"""Options of the group ``precision`` that are checked, in the order of the checks."""

LATER = ("fp16", "bf16", "tf32", "fp32")
"""Their order in the less important checks: fp16 also covers loss scaling, and most of what bf16 does."""

SMALL = ("dataset.size=16", "dataset.channels=3", "model.width=8")

SPARE_MEMORY = 256 * 2**20
"""Bytes that remain allowed in the check of the message about full memory."""

PROCESSES_TIMEOUT = 60.0
"""Seconds that two processes on one GPU have to end with a message."""

SUPER_RESOLUTION = (
    *("dataset.resize_mode=whole", "degradation.patch=32", "degradation.patches=4"),
    *("model.width=8", "model.blocks=1", "perception=random"),
)

PROJECTED = ("model.discriminator.width=4", "model.discriminator.resize=32")

FAMILIES: dict[str, tuple[str, ...]] = {
    "dcgan": ("model=dcgan", *SMALL),
    "progan_small": ("model=progan_small", *SMALL, "model.growth.max_batch_size=8", "epochs=1"),
    "sngan": ("model=sngan", *SMALL),
    "sagan": ("model=sagan", *SMALL, "model.attention=8"),
    "wgan_gp": ("model=wgan_gp", *SMALL),
    "dcgan_cifar": ("model=dcgan_cifar", *SMALL),
    "sngan_deep": ("model=sngan_deep", *SMALL),
    "r3gan_small": ("model=r3gan_small", *SMALL, "model.channel_base=64"),
    "stylegan2_small": ("model=stylegan2_small", *SMALL, "model.channel_base=128"),
    "fastgan_projected_small": ("model=fastgan_projected_small", *SMALL, *PROJECTED),
    "srgan": ("model=srgan", *SUPER_RESOLUTION),
    "srgan_bn": ("model=srgan_bn", *SUPER_RESOLUTION),
    "srgan_unet": ("model=srgan_unet", *SUPER_RESOLUTION),
    "esrgan": ("model=esrgan", *SUPER_RESOLUTION, "model.growth_channels=4"),
}
"""Overrides that give each family of networks a size for which a step takes milliseconds."""

MAIN_FAMILIES = ("dcgan", "progan_small")

DCGAN = FAMILIES["dcgan"]

COMBINATIONS: tuple[tuple[str, ...], ...] = (
    (*DCGAN, "n_critic=2", "loss=wasserstein", "penalty=gradient_penalty", "model.norm=layer", "schedule=cosine"),
    (*DCGAN, "augment=diffaugment", "conditioning=auxiliary_classifier"),
    (*FAMILIES["sngan"], "penalty=r1", "penalty.discriminator.r1.interval=3", "conditioning=projection", "schedule=linear"),
    (*DCGAN, "augment=instance_noise", "loss=relativistic", "max_grad_norm=1.0"),
    (*DCGAN, "loss=minimax", "penalty=dragan", "model.norm=none", "gradient_accumulation_steps=2"),
    (*FAMILIES["sagan"], "penalty=r1_r2", "loss=relativistic_average", "conditioning=conditional_batch_norm"),
    (*DCGAN, "conditioning=concatenation", "augment=ada", "augment.ada.interval=2", "penalty=r1", "model.norm=none"),
    (*FAMILIES["r3gan_small"], "augment=ada_r3gan", "conditioning=embedding", "schedule=r3gan", "reuse_fakes=false"),
    (*FAMILIES["stylegan2_small"], "penalty=path_length", "augment=blur"),
    (*FAMILIES["stylegan2_small"], "penalty=r1_lazy", "model.half_precision_resolutions=1"),
    (*DCGAN, "loss=wasserstein", "penalty=weight_clipping", "reuse_fakes=false", "ema=none"),
    (*FAMILIES["srgan"], "pretraining=pixels", "pretraining.kimg=0.064"),
)
"""Conditioning, penalty and augmentation together, each option at least once."""

FUSED_SGD = ("optimizer=sgd", "optimizer.fused=true")

OPTIMIZERS: tuple[tuple[str, ...], ...] = (
    ("optimizer=rmsprop",),
    ("optimizer=adamw",),
    ("optimizer=sgd",),
    FUSED_SGD,
    ("optimizer=adam", "optimizer.fused=false"),
)

SCALED_OPTIMIZERS = tuple(overrides for overrides in OPTIMIZERS if overrides != FUSED_SGD)
"""Those for loss scaling: without fused SGD, whose momentum PyTorch leaves uninitialized if the first step is skipped."""

ACTIVATION_CHECKPOINTING = ("activation_checkpointing=true",)


def all_checks(precisions: Sequence[str]) -> list[Check]:
    """All checks in the order in which they run.

    Args:
        precisions: options of the group ``precision``.
    """
    first, *others = precisions
    rest = [family for family in FAMILIES if family not in MAIN_FAMILIES]
    checks = [_mode_check(family, precision) for family in MAIN_FAMILIES for precision in precisions]
    checks += [_default_check(family, precision) for family in MAIN_FAMILIES for precision in precisions]
    checks.append(_resume_check(first))
    checks.append(Check("deterministic=true augment=ada", "fp32", deterministic_ada))
    checks += [_option_check(overrides, "fp32") for overrides in (*OPTIMIZERS, ACTIVATION_CHECKPOINTING)]
    checks.append(Check("precision=auto", "fp32", automatic_precision))
    checks.append(Check("data_memory_fraction=0", "fp32", streamed_images))
    checks.append(Check("message when the GPU's memory is full", "fp32", full_memory))
    checks += [_mode_check(family, first) for family in rest]
    checks += [_combination_check(overrides, first) for overrides in COMBINATIONS]
    checks.append(Check("message of two processes on one GPU", "fp32", two_processes))
    compilation = [Check("compile=both", "fp32", compile_both)]
    for precision in sorted(others, key=LATER.index):
        checks += [_mode_check(family, precision) for family in rest]
        checks += compilation  # takes as long as twenty others
        compilation = []
        checks += [_combination_check(overrides, precision) for overrides in COMBINATIONS]
        checks += [_option_check(overrides, precision) for overrides in SCALED_OPTIMIZERS if precision == "fp16"]
        checks.append(_resume_check(precision))
    return checks + compilation


def _mode_check(family: str, precision: str) -> Check:
    return Check(family, precision, partial(compare_modes, (*FAMILIES[family], f"precision={precision}")))


def _default_check(family: str, precision: str) -> Check:
    overrides = (*FAMILIES[family], f"precision={precision}")
    return Check(f"{family}, deterministic=false", precision, partial(default_algorithms, overrides))


def _resume_check(precision: str) -> Check:
    return Check("resume in the other mode", precision, partial(resume_modes, precision))


def _option_check(overrides: Sequence[str], precision: str) -> Check:
    function = partial(compare_modes, (*DCGAN, *overrides, f"precision={precision}"), may_run_eagerly=True)
    return Check(" ".join(overrides), precision, function)


def _combination_check(overrides: Sequence[str], precision: str) -> Check:
    named = [o for o in overrides if o.startswith(("model=", "augment=", "penalty=", "conditioning=", "loss=", "pretraining="))]
    subject = " ".join(o.partition("=")[2] for o in named)
    return Check(subject, precision, partial(compare_modes, (*overrides, f"precision={precision}")))


def compare_modes(overrides: Sequence[str], environment: Environment, may_run_eagerly: bool = False) -> str:
    """Train eagerly and captured, and compare all weights, optimizer states and metrics.

    Args:
        overrides: the run.
        environment: where it runs.
        may_run_eagerly: whether ``capture=auto`` may decide beforehand to run eagerly with these settings.
    """
    note = ""

    def body(*determinism: str) -> str:
        nonlocal note
        with stage("eager"):
            eager = _train_new(environment, *overrides, *determinism)
        with stage("captured"):
            captured, note = _train_captured(environment, may_run_eagerly, *overrides, *determinism)
        return describe_differences(eager, captured, exact=determinism == DETERMINISTIC)

    result = _deterministic_if_possible(body)
    return f"runs eagerly: {note}" if note else f"captured and eager {result}"


def default_algorithms(overrides: Sequence[str], environment: Environment) -> str:
    """As :func:`compare_modes`, with the algorithms that cuDNN finds fastest, as in a run with default settings."""
    with stage("eager"):
        eager = _train_new(environment, *overrides)
    with stage("captured"):
        captured, _ = _train_captured(environment, False, *overrides)
    return f"finite; captured and eager {describe_differences(eager, captured, exact=False, largest=math.inf)}"


def resume_modes(precision: str, environment: Environment) -> str:
    """Resume a captured run eagerly and an eager one captured, and compare with an uninterrupted run."""
    overrides = [*DCGAN, "augment=ada", "schedule=linear", "penalty=r1", "penalty.discriminator.r1.interval=2"]
    overrides += ["model.norm=none", f"precision={precision}"]

    def body(*determinism: str) -> str:
        run = (*overrides, *determinism)
        with stage("uninterrupted"):
            whole = _train_new(environment, *run, steps=2 * environment.steps)
        results = []
        for modes in ((True, False), (False, True)):
            with stage(" -> ".join("captured" if captured else "eager" for captured in modes)):
                directory = environment.new_directory()
                first = environment.build(*run, captured=modes[0], directory=directory)
                train(first, environment.steps)
                first.checkpointer.save("last")
                first.checkpointer.wait()
                second = environment.build(*run, captured=modes[1], directory=directory)
                resume(second, directory.path, read_checkpoint(directory, "last"))
                train(second, environment.steps)
                exact = determinism == DETERMINISTIC
                results.append(describe_differences(whole, Trained.of(second), exact, compare_metrics=False))
        return f"resumed and uninterrupted {' / '.join(dict.fromkeys(results))}"

    return _deterministic_if_possible(body)


def deterministic_ada(environment: Environment) -> str:
    """Train twice with deterministic algorithms and ADA, whose sampling of images has none in PyTorch."""
    overrides = (*DCGAN, "augment=ada", "augment.ada.p=0.5", "augment.ada.interval=2", "precision=fp32", *DETERMINISTIC)
    runs = []
    for name in ("first run", "second run"):
        with stage(name):
            runs.append(_train_captured(environment, False, *overrides)[0])
    with stage("eager run"):
        runs.append(_train_new(environment, *overrides))
    for other in runs[1:]:
        describe_differences(runs[0], other, exact=True)
    return "two captured runs and an eager one identical"


def automatic_precision(environment: Environment) -> str:
    """Let ``precision=auto`` choose by its trial, and train in what it chose."""
    job = environment.job(*DCGAN, "precision=auto", captured=True)
    resolve_precision(job, environment.device, SINGLE_PROCESS)
    chosen = job.choices["precision"]
    _train_captured(environment, False, *DCGAN, f"precision={chosen}")
    return f"chose {chosen}"


def streamed_images(environment: Environment) -> str:
    """Train on images that are kept on the device and on images that are copied to it batch by batch, both captured."""
    overrides = (*DCGAN, "precision=fp32", *DETERMINISTIC)
    runs = []
    for name, options in (("kept on the device", ()), ("streamed", ("data_memory_fraction=0",))):
        with stage(name):
            runs.append(_train_captured(environment, False, *overrides, *options)[0])
    return f"kept and streamed images: {describe_differences(runs[0], runs[1], exact=True)}"


def full_memory(environment: Environment) -> str:
    """Train a batch that does not fit, then another that does."""
    if environment.device.type != "cuda":
        raise Skipped("needs a CUDA device")
    options = MemoryOptions(256, 1, "fp32", False)
    overrides = ("model=dcgan", "dataset.size=64", "dataset.channels=3", "batch_size=256", "precision=fp32")
    large = environment.build(*overrides, captured=True)
    message = None
    with limited_memory(environment.device, SPARE_MEMORY):
        try:
            with explain_out_of_memory(lambda: options):
                train(large, 2)
        except ValueError as error:
            message = first_line(error)
            error.__traceback__ = None
    if message is None:
        raise RuntimeError("a batch larger than the allowed memory was trained without an error")
    del large
    release_memory(environment.device)
    with stage("after the error"):
        _train_new(environment, *DCGAN, "precision=fp32")
    return message


def two_processes(environment: Environment) -> str:
    """Start ``torchrun`` with two processes of which only one finds a GPU; returns the error message they end with."""
    if environment.device.type != "cuda":
        raise Skipped("needs a CUDA device")
    index = environment.device.index or 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    only = str(index) if visible is None else visible.split(",")[index]
    folder = environment.new_directory().path
    command = [
        *(sys.executable, "-m", *TORCHRUN, "--nproc-per-node=2", "-m", "gan_lab.train", "device=cuda", "evaluation=none"),
        *("precision=fp32", "epochs=0.1", f"hydra.run.dir={folder}", "console=plain"),
    ]
    # a file rather than a pipe, which processes that outlive torchrun would keep open
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                timeout=PROCESSES_TIMEOUT,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": only},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the processes did not end within {PROCESSES_TIMEOUT:.0f} s") from None
        errors.seek(0)
        lines = errors.read().splitlines()
    messages = [line[line.index("error: ") :] for line in lines if "error: " in line and "CUDA" in line]
    if done.returncode == 0 or not messages:
        last = next((line for line in reversed(lines) if line.strip()), "no output")
        raise RuntimeError(f"no message about the missing GPU (exit code {done.returncode}, last line: {last.strip()})")
    return messages[0]


def compile_both(environment: Environment) -> str:
    """Train with ``compile=both``, which may continue without compiling where that is not supported."""
    with captured_warnings() as warnings:
        trainer = environment.build(*DCGAN, "precision=fp32", "compile=both")
        train(trainer, 4)
    check_finite(trainer)
    return next((warning for warning in warnings if warning.startswith("compile")), "compiled")


DETERMINISTIC = ("deterministic=true",)


def train(trainer: Trainer, steps: int) -> None:
    """Train ``steps`` steps, starting from the trainer's progress; waits for the device."""
    state_at = trainer.updater.growth.state_at
    batches = trainer.loader.batches(trainer.progress.images, lambda images: state_at(images).batch_size)
    for _ in range(steps):
        trainer.step(next(batches))
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)


def _train_new(environment: Environment, *overrides: str, steps: int | None = None) -> Trained:
    trainer = environment.build(*overrides)
    train(trainer, steps or _num_steps(trainer, environment.steps))
    return Trained.of(trainer)


def _train_captured(environment: Environment, may_run_eagerly: bool, *overrides: str) -> tuple[Trained, str]:
    """Train captured; returns the result and why iterations ran eagerly, empty if they did not."""
    with captured_warnings() as warnings:
        trainer = environment.build(*overrides, captured=True)
        train(trainer, _num_steps(trainer, environment.steps))
    reason = next((warning for warning in warnings if warning.startswith("capture")), "")
    runner = trainer.updater.runner
    if not reason and not (isinstance(runner, GraphRunner) and runner.num_recorded):
        reason = "no iteration was recorded"
    if reason and (isinstance(runner, GraphRunner) or not may_run_eagerly):
        raise RuntimeError(reason)
    return Trained.of(trainer), reason


def _num_steps(trainer: Trainer, steps: int) -> int:
    """``steps``, preceded for a progressive network by those until it has its full resolution."""
    growth, images, before = trainer.updater.growth, trainer.progress.images, 0
    if isinstance(trainer.updater.gan.generator, ProgressiveNetwork):
        final = growth.state_at(trainer.progress.total_images)
        while growth.state_at(images) != final:
            images, before = images + growth.state_at(images).batch_size, before + 1
    cycle = max(phase.update_interval for phase in trainer.updater.phases)
    return before + max(steps, (WARMUP + 2) * cycle)


def _deterministic_if_possible(body: Callable[..., str]) -> str:
    """Call ``body`` with deterministic algorithms; without them if the networks contain an operation that has none."""
    try:
        return body(*DETERMINISTIC)
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        result = body()
        return f"{result} (not deterministic: {first_line(error)})"

"""benchmark=device on the CPU: its checks with recorded operations in place of CUDA graphs, its process and its time limits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import every_nth, run_module
from recorded_operations import RecordedOperations
from torch import nn

from gan_lab.benchmarks import device_checks, device_speed
from gan_lab.benchmarks.device import DeviceBenchmark
from gan_lab.benchmarks.device_checks import COMBINATIONS, DCGAN, OUT_OF_TIME, PRECISIONS, all_checks, compare_modes
from gan_lab.benchmarks.device_environment import FAILED, OK, SKIPPED, Check, Environment, Skipped, run_check
from gan_lab.benchmarks.device_worker import Worker, execute
from gan_lab.config import CONF_DIR
from gan_lab.iteration.capturable_optimizer import make_capturable
from gan_lab.training.trainer import Trainer

CPU = torch.device("cpu")


def make_environment(folder: Path, capture: Callable[[Trainer], None] | None = None) -> Environment:
    """On the CPU; iterations are recorded by :class:`RecordedOperations`."""

    def prepare(trainer: Trainer) -> None:
        for phase in trainer.updater.all_phases:
            make_capturable(phase.optimizer, CPU)

    return Environment(CPU, folder, 5, capture or record, prepare)


def record(trainer: Trainer) -> None:
    trainer.updater.capture(RecordedOperations())


def named_check(name: str) -> Check:
    return next(check for check in all_checks(PRECISIONS) if check.name == name)


# -- checks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    every_nth(
        [
            ("dcgan, fp32", "captured and eager identical"),
            ("dcgan, bf16", "captured and eager identical"),
            ("progan_small, fp32", "captured and eager identical"),
            ("dcgan, deterministic=false, fp32", "finite; captured and eager identical"),
            ("resume in the other mode, fp32", "resumed and uninterrupted identical"),
            ("deterministic=true augment=ada, fp32", "two captured runs and an eager one identical"),
            ("data_memory_fraction=0, fp32", "kept and streamed images: identical"),
            ("precision=auto, fp32", "chose fp32"),
            ("optimizer=sgd optimizer.fused=true, fp32", "captured and eager identical"),
        ],
        9,
    ),
)
def test_checks_pass(tmp_path: Path, name: str, message: str) -> None:
    row = run_check(named_check(name), make_environment(tmp_path))
    assert (row["status"], row["message"]) == (OK, message), row.get("traceback")


def test_unsupported_precisions_and_checks_of_a_gpu_are_skipped(tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    names = ["dcgan, tf32", "message when the GPU's memory is full, fp32", "message of two processes on one GPU, fp32"]
    rows = [run_check(named_check(name), environment) for name in names]
    assert [row["status"] for row in rows] == [SKIPPED] * 3 and rows[0]["message"].startswith("precision=tf32 needs")


def test_a_difference_between_captured_and_eager_is_a_failure(tmp_path: Path) -> None:
    def change_and_record(trainer: Trainer) -> None:
        record(trainer)
        with torch.no_grad():
            next(trainer.updater.gan.generator.parameters()).mul_(1.5)

    environment = make_environment(tmp_path, change_and_record)
    row = run_check(named_check("dcgan, fp32"), environment)
    assert row["status"] == FAILED and "tensors differ" in row["message"] and "relative" in row["message"]


@pytest.mark.slow
def test_captured_iterations_that_run_eagerly_are_a_failure(tmp_path: Path) -> None:
    environment = make_environment(tmp_path, lambda trainer: None)
    row = run_check(named_check("dcgan, fp32"), environment)
    assert (row["status"], row["message"]) == (FAILED, "captured: no iteration was recorded")
    message = compare_modes((*DCGAN, "optimizer=sgd"), environment, may_run_eagerly=True)
    assert message == "runs eagerly: no iteration was recorded"


def test_a_weight_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    trainer = environment.build(*DCGAN)
    nn.init.constant_(next(trainer.updater.gan.discriminator.parameters()), float("nan"))
    with pytest.raises(RuntimeError, match="of the discriminator is not finite"):
        device_checks.check_finite(trainer)


def test_networks_without_deterministic_algorithms_are_compared_with_a_tolerance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = make_environment(tmp_path)
    build = environment.build

    def fail_if_deterministic(*overrides: str, **more: Any) -> Trainer:
        if "deterministic=true" in overrides:
            raise RuntimeError("some_backward does not have a deterministic implementation, but ...")
        return build(*overrides, **more)

    monkeypatch.setattr(environment, "build", fail_if_deterministic)
    message = compare_modes((*DCGAN, "precision=fp32"), environment)
    assert message.startswith("captured and eager identical (not deterministic: eager: some_backward does not have")


def test_any_exception_is_recorded() -> None:
    def check(error: Exception) -> Check:
        def function(environment: Environment) -> str:
            raise error

        return Check("check", "fp32", function)

    environment: Any = type("NoEnvironment", (), {"device": CPU})
    row = run_check(check(IndexError("first line\nsecond line")), environment)
    assert (row["status"], row["message"]) == (FAILED, "first line") and "IndexError" in row["traceback"]
    assert run_check(check(Skipped("why")), environment) | {"seconds": 0} == {"status": SKIPPED, "message": "why", "seconds": 0}


def test_the_message_about_full_memory_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_environment(tmp_path)
    trainer, steps = environment.build(*DCGAN), list[int]()

    def out_of_memory(trainer: Trainer, count: int) -> None:
        steps.append(count)
        if len(steps) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(environment, "build", lambda *overrides, **more: trainer)
    monkeypatch.setattr(device_checks, "limited_memory", lambda device, spare: nullcontext())
    monkeypatch.setattr(device_checks, "release_memory", lambda device: None)
    monkeypatch.setattr(device_checks, "train", out_of_memory)
    environment.device = torch.device("cuda")
    message = device_checks.full_memory(environment)
    assert "memory of the GPU is full" in message and "batch_size=128" in message
    with pytest.raises(RuntimeError, match="trained without an error"):
        device_checks.full_memory(environment)


def test_names_are_unique_and_every_option_is_checked() -> None:
    names = [check.name for check in all_checks(PRECISIONS)]
    assert len(names) == len(set(names))
    chosen = {override for overrides in COMBINATIONS for override in overrides}
    for group in ("conditioning", "penalty", "augment"):
        options = {path.stem for path in (CONF_DIR / group).glob("*.yaml")} - {"none", "drift", "r2"}
        assert {f"{group}={option}" for option in options} <= chosen


# -- speeds ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_speeds_and_flops_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_environment(tmp_path)
    small = ("model.width=4", "dataset.size=16", "batch_size=8")
    monkeypatch.setattr(device_speed, "NETWORKS", {name: (f"model={name}", *small) for name in ("dcgan", "progan_small")})
    monkeypatch.setattr(device_speed, "MAX_STEPS", 2)
    for network in device_speed.NETWORKS:
        result = device_speed.measure_speed(environment, network, "fp32", tutorial=False)
        assert result["batch_size"] == 8 and result["flops"] > 1e6 and result["note"] == ""
        assert {name: len(values) for name, values in result["seconds"].items()} == {
            "bare step": 3,
            "eager loop": 3,
            "captured loop": 3,
        }
    monkeypatch.setattr(device_speed, "CONVOLUTION_SECONDS", 0.01)
    assert device_speed.measure_convolution(CPU, "bf16", {"batch": 2, "channels": 4, "size": 4, "kernel": 3}) > 0


def test_flops_of_second_derivatives_are_counted() -> None:
    """A product of [5, 3] and [3, 2] has 2 * 30 FLOPs, and so has the gradient of each factor."""
    images, weight = torch.ones(5, 3, requires_grad=True), torch.ones(3, 2, requires_grad=True)

    def step() -> None:
        (gradient,) = torch.autograd.grad((images @ weight).square().sum(), images, create_graph=True)
        gradient.square().sum().backward()

    assert device_speed.count_flops(step, 1) >= 60 * 4


# -- time limits and the process ---------------------------------------------------------------------------------------------


class FakeWorker:
    """Every request takes ten seconds; records the requests."""

    def __init__(self, answers: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.now, self.requests, self._answers = 0.0, list[dict[str, Any]](), answers
        self.timeouts: list[float] = []

    def __call__(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        self.now += 10
        self.requests.append(request)
        self.timeouts.append(timeout)
        return self._answers(request)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    speeds = {name: [0.5] for name in ("bare step", "eager loop", "captured loop", "tutorial loop")}
    answers: dict[str, dict[str, Any]] = {
        "facts": {"device": "some GPU", "compute_capability": [8, 6]},
        "check": {"status": OK, "message": "identical", "seconds": 1.0},
        "convolution": {"flops_per_second": 4e12},
        "speed": {"batch_size": 50, "seconds": speeds, "flops": 1e12, "note": ""},
    }
    return answers[request["task"]]


def test_everything_is_measured_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    worker = FakeWorker(answer)
    benchmark = DeviceBenchmark(20, check_seconds=1e6, total_seconds=1e7, timeout=90, precisions=list(PRECISIONS))
    result = benchmark.measure(worker, lambda: worker.now)
    assert len(result.checks) == len(all_checks(PRECISIONS)) and {row["status"] for row in result.checks} == {OK}
    assert len(result.speeds) == 4 * len(device_speed.NETWORKS) and set(worker.timeouts) == {90}
    assert {r["precision"] for r in worker.requests if r.get("tutorial")} == {"tf32"}
    written = json.loads(json.dumps(result.to_dict()))
    speed = written["speeds"][0]
    assert speed["images_per_second"]["captured loop"] == 100 and speed["tflops"]["captured loop"] == 2
    assert speed["fraction_of_convolution"]["captured loop"] == 0.5
    result.print()
    printed = capsys.readouterr().out
    assert "2 (50%)" in printed and "some GPU" in printed and f"{len(result.checks)} ok" in printed


def test_nothing_is_started_when_the_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    worker = FakeWorker(answer)
    benchmark = DeviceBenchmark(20, check_seconds=45, total_seconds=88, timeout=90, precisions=["fp32"])
    result = benchmark.measure(worker, lambda: worker.now)
    started = [row for row in result.checks if row["message"] != OUT_OF_TIME]
    assert len(started) == 4 and started == result.checks[:4]  # the facts took the first ten seconds
    assert {row["status"] for row in result.checks[4:]} == {SKIPPED}
    assert ["seconds" in row for row in result.speeds] == [True, True, True, False]
    assert result.speeds[3]["skipped"] == OUT_OF_TIME and worker.timeouts[-1] == 8
    result.print()
    assert f"{len(result.checks) - 4} skipped (time)" in capsys.readouterr().out


def test_a_process_without_an_answer_is_a_failed_check(capsys: pytest.CaptureFixture[str]) -> None:
    worker = FakeWorker(lambda request: {"error": "no answer within 90 s"})
    benchmark = DeviceBenchmark(20, check_seconds=1e6, total_seconds=1e7, timeout=90, precisions=["fp32"])
    result = benchmark.measure(worker, lambda: worker.now)
    assert {(row["status"], row["message"]) for row in result.checks} == {(FAILED, "no answer within 90 s")}
    assert result.convolution == {} and {row["error"] for row in result.speeds} == {"no answer within 90 s"}
    result.print()
    assert f"dcgan, fp32 and {len(result.checks) - 1} others: failed, no answer within 90 s" in capsys.readouterr().out
    json.dumps(result.to_dict())


@pytest.mark.slow
def test_the_process_is_started_again_after_it_has_failed(tmp_path: Path) -> None:
    with Worker(CPU, tmp_path, steps=5) as worker:
        assert worker.execute({"task": "facts"}, 60)["torch"] == torch.__version__
        assert worker._process is not None
        os.kill(worker._process.pid, signal.SIGKILL)
        assert worker.execute({"task": "facts"}, 60) == {"error": "the process ended with signal 9 (SIGKILL)"}
        slow = {"task": "speed", "network": "sngan 32 px, color", "precision": "fp32", "tutorial": False}
        assert "torch" in worker.execute({"task": "facts"}, 60)
        assert worker.execute(slow, 0.1) == {"error": "no answer within 0 s"} and worker._process is None


def test_failures_of_requests_are_answers(tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    assert execute({"task": "speed", "network": "x", "precision": "fp32", "tutorial": False}, environment) == {"error": "'x'"}
    request = {"task": "speed", "network": "dcgan 32 px", "precision": "tf32", "tutorial": False}
    assert execute(request, environment)["skipped"].startswith("precision=tf32 needs")


def test_a_process_that_may_have_lost_the_gpu_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(CPU, tmp_path, steps=5)
    killed: list[bool] = []
    monkeypatch.setattr(worker, "_start", lambda timeout: None)
    monkeypatch.setattr(worker, "_kill", lambda: killed.append(True))
    monkeypatch.setattr(worker, "_ask", lambda request, timeout: {"status": FAILED, "message": request["message"]})
    worker.execute({"message": "tensors differ"}, 1)
    assert not killed
    worker.execute({"message": "eager: CUDA error: an illegal memory access was encountered"}, 1)
    assert killed


def test_wrong_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        DeviceBenchmark(0, 1, 1, 1, ["fp32"])
    with pytest.raises(ValueError, match="must be some of fp32, bf16, fp16, tf32"):
        DeviceBenchmark(1, 1, 1, 1, ["fp64"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_command_ends_with_one_line_where_there_is_no_gpu(tmp_path: Path) -> None:
    done = run_module("benchmark", "benchmark=device", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: benchmark=device needs a CUDA GPU, and device=auto is the CPU here; use benchmark=step\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_processes_without_a_gpu_end_with_a_message(tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    environment.device = torch.device("cuda")
    assert device_checks.two_processes(environment).startswith("error: device=cuda")

"""Functions of the training progress: EMA, schedules, triggers and averages of metrics."""

from __future__ import annotations

import copy
import logging
import time

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from gan_lab.iteration.ema import ExponentialMovingAverage, NoEMA
from gan_lab.iteration.metric_averager import MetricAverager
from gan_lab.iteration.schedule import Constant, Cosine, Linear, Schedule, Steps
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.callbacks import Callbacks, Event, IntervalTrigger, MilestoneTrigger

STEPS = 40


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


@pytest.mark.parametrize("cuda", [False, True])
def test_weights_of_the_average_halve_in_a_half_life(cuda: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the operations that take the place of lerp on CUDA."""
    generator = network()
    average = ExponentialMovingAverage(generator, kimg=1.0, rampup=1e9)
    with average.eval_mode() as sampled:
        start = copy.deepcopy(sampled.state_dict())
    with torch.no_grad():
        for tensor in (*generator.parameters(), *generator.buffers()):
            tensor.add_(1)
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "is_cuda", cuda)
        for _ in range(10):
            average.set_progress(images=10**6, batch=100)
            average.update()
    with average.eval_mode() as sampled:
        assert not sampled.training
        for name, value in sampled.state_dict().items():
            expected = start[name] + (1 if name.endswith("num_batches_tracked") else 0.5)
            torch.testing.assert_close(value, expected.to(value.dtype), msg=name)


def test_rampup_shortens_the_half_life_at_the_start() -> None:
    generator = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(generator, kimg=100.0, rampup=0.05)
    with torch.no_grad():
        start = generator.weight.item()
        generator.weight.add_(1)
    average.set_progress(images=2000, batch=100)  # the half-life is 100 images now
    average.update()
    with average.eval_mode() as sampled:
        assert sampled.weight.item() == pytest.approx(start + 0.5, abs=1e-6)  # type: ignore[union-attr, operator]


def test_without_ema_the_generator_is_sampled_in_evaluation_mode() -> None:
    generator = network().train()
    with NoEMA(generator).eval_mode() as sampled:
        assert sampled is generator and not generator.training and not torch.is_grad_enabled()
    assert generator.training and torch.is_grad_enabled()


def by_torch(scheduler: object) -> list[float]:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    made = scheduler(optimizer)  # type: ignore[operator]
    factors = []
    for _ in range(STEPS):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return factors


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        (Constant(), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        (Linear(end=0.25), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.25, STEPS)),
        (Cosine(end=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1)),
        (Steps(at=[0.25, 0.75], gamma=0.3), lambda o: lr_scheduler.MultiStepLR(o, [10, 30], 0.3)),
    ],
)
def test_schedules_equal_those_of_torch(schedule: Schedule, reference: object) -> None:
    assert [schedule(n / STEPS) for n in range(STEPS)] == pytest.approx(by_torch(reference), abs=1e-9)


def test_a_decay_may_begin_late() -> None:
    assert [Linear(start=0.5)(p) for p in (0, 0.5, 0.75, 1)] == [1, 1, 0.5, 0]
    assert [Cosine(start=0.5)(p) for p in (0, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.5, 0])
    with pytest.raises(ValueError, match="start=1"):
        Linear(start=1.0)
    with pytest.raises(ValueError, match="at="):
        Steps(at=[2.0])


def test_triggers_fire_once_for_each_point_whatever_the_batch() -> None:
    every, at = IntervalTrigger(100), MilestoneTrigger([50, 120])
    for batch in (7, 32, 100):
        clock = range(0, 700, batch)
        fired = [n for n in clock if every.is_due(n, n + batch)]
        assert len(fired) == (clock[-1] + batch) // 100
    assert [n for n in range(0, 200, 40) if at.is_due(n, n + 40)] == [40, 80]
    with pytest.raises(ValueError, match="must be positive"):
        IntervalTrigger(0)


def test_all_events_run_at_the_end() -> None:
    done: list[str] = []
    callbacks = Callbacks(
        {
            "a": Event(IntervalTrigger(1000), lambda: done.append("a")),
            "b": Event(MilestoneTrigger([]), lambda: done.append("b"), max_time_fraction=1e-9),
        },
        end=64,
    )
    assert callbacks.due(0, 32) == []
    callbacks.run(callbacks.due(32, 64), training_seconds=0.0, images=64)
    assert done == ["a", "b"]


def test_events_stay_within_their_fraction_of_the_training_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call takes 1 second; a call is made if all calls with it take at most a tenth of the training."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    called: list[int] = []

    def act() -> None:
        now[0] += 1.0
        called.append(images)

    event = Event(IntervalTrigger(1), act, max_time_fraction=0.1, section="sample")
    event.expected_seconds = 1.0
    callbacks = Callbacks({"sampling": event, "free": Event(IntervalTrigger(1), lambda: None)}, end=100)
    with caplog.at_level(logging.INFO):
        for images in range(1, 101):  # one second of training for each image
            callbacks.run(callbacks.due(images - 1, images), training_seconds=float(images), images=images)
    assert called == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("sampling takes 1") and "below 10 %" in message and "sample.max_time_fraction=null" in message


def test_an_averager_returns_each_mean_once_and_is_part_of_checkpoints() -> None:
    averager = MetricAverager(torch.device("cpu"))
    averager.add({"a": torch.tensor(1.0), "b": torch.tensor(4.0)})
    averager.add({"a": torch.tensor(2.0)})
    restored = MetricAverager(torch.device("cpu"))
    restored.load_state_dict(averager.state_dict())
    for each in (averager, restored):
        each.add({"a": torch.tensor(6.0)})
        assert each.read(SingleProcess()) == {"a": 3.0, "b": 4.0}
        assert each.read(SingleProcess()) == {}

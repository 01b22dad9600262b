"""Checks and times every CUDA path on one GPU, in a limited time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gan_lab.benchmarks.device_checks import OUT_OF_TIME, PRECISIONS, all_checks
from gan_lab.benchmarks.device_environment import FAILED, SKIPPED
from gan_lab.benchmarks.device_report import DeviceResult
from gan_lab.benchmarks.device_speed import NETWORKS
from gan_lab.benchmarks.device_worker import Request, Worker
from gan_lab.config import Job
from gan_lab.runtime.device import choose_device
from gan_lab.utils.terminal import progress_bar

Execute = Callable[[Request, float], dict[str, Any]]
"""Executes a request within a number of seconds, see :meth:`Worker.execute`."""

MIN_SECONDS = 5.0
"""Nothing is started when less time is left."""

TF32_CAPABILITY = [8, 0]


class DeviceBenchmark:
    """Runs the checks, most important first, then measures the speeds.

    Args:
        steps: training steps of a check.
        check_seconds: no check is started after this time; the rest are reported as skipped.
        total_seconds: time after which everything is skipped or stopped.
        timeout: seconds after which a single check or measurement is stopped and reported as failed.
        precisions: options of the group ``precision``; those that the device does not support are reported as skipped.

    Raises:
        ValueError: a number or a precision is out of range.
    """

    def __init__(self, steps: int, check_seconds: float, total_seconds: float, timeout: float, precisions: list[str]) -> None:
        if steps < 1 or min(check_seconds, total_seconds, timeout) <= 0:
            raise ValueError(
                f"benchmark: {steps=} must be at least 1, and {check_seconds=}, {total_seconds=} and {timeout=} positive"
            )
        if not precisions or set(precisions) - set(PRECISIONS):
            raise ValueError(f"benchmark.precisions={precisions}: must be some of {', '.join(PRECISIONS)}")
        self._steps, self._check_seconds, self._total_seconds = steps, check_seconds, total_seconds
        self._timeout, self._precisions = timeout, list(precisions)

    def __call__(self, job: Job) -> DeviceResult:
        """Only the key ``device`` of the job is used.

        Raises:
            ValueError: the device is not a CUDA device.
        """
        device = choose_device(job.cfg.device)
        if device.type != "cuda":
            raise ValueError(
                f"benchmark=device needs a CUDA GPU, and device={job.cfg.device} is the CPU here; use benchmark=step"
            )
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            Worker(device, Path(folder), self._steps) as worker,
        ):
            return self.measure(worker.execute)

    def measure(self, execute: Execute, clock: Callable[[], float] = time.monotonic) -> DeviceResult:
        """Run everything.

        Args:
            execute: see :data:`Execute`.
            clock: the time in seconds.
        """
        start = clock()

        def time_left(limit: float) -> float:
            return limit - (clock() - start)

        def run(request: Request) -> dict[str, Any]:
            return execute(request, max(1.0, min(self._timeout, time_left(self._total_seconds))))

        facts = run({"task": "facts"})
        checks, speeds = list[dict[str, Any]](), list[dict[str, Any]]()
        planned = all_checks(self._precisions)
        requests = list(self._speed_requests(facts))
        total = len(planned) + len(self._precisions) + len(requests)
        convolution: dict[str, float] = {}
        with progress_bar("benchmark=device", "checks and measurements") as report:
            for check in planned:
                answer: dict[str, Any]
                begin = clock()
                if time_left(min(self._check_seconds, self._total_seconds)) <= 0:
                    answer = {"status": SKIPPED, "message": OUT_OF_TIME, "seconds": 0.0}
                else:
                    answer = run({"task": "check", "name": check.name, "precisions": self._precisions})
                if "status" not in answer:
                    message = answer.get("error") or answer.get("skipped")
                    answer = {"status": FAILED, "message": message, "seconds": clock() - begin}
                checks.append({"name": check.name, "subject": check.subject, "precision": check.precision, **answer})
                report(len(checks), total)
            for n, precision in enumerate(self._precisions if time_left(self._total_seconds) > MIN_SECONDS else ()):
                rate = run({"task": "convolution", "precision": precision}).get("flops_per_second")
                if rate is not None and self._is_supported(precision, facts):
                    convolution[precision] = rate
                report(len(checks) + n + 1, total)
            for request in requests:
                enough = time_left(self._total_seconds) > MIN_SECONDS
                measured = run(request) if enough else {"skipped": OUT_OF_TIME}
                speeds.append({name: request[name] for name in ("network", "precision")} | measured)
                report(total - len(requests) + len(speeds), total)
        return DeviceResult(facts, checks, convolution, speeds, clock() - start)

    def _speed_requests(self, facts: dict[str, Any]) -> Iterator[Request]:
        """Every network in the first precision, then in the others."""
        tutorial = "tf32" if "tf32" in self._precisions and self._is_supported("tf32", facts) else self._precisions[0]
        for precision in self._precisions:
            for network in NETWORKS:
                yield {"task": "speed", "network": network, "precision": precision, "tutorial": precision == tutorial}

    def _is_supported(self, precision: str, facts: dict[str, Any]) -> bool:
        """Whether the device computes in this precision; without the flag TF32, a convolution would silently run in fp32."""
        return precision != "tf32" or facts.get("compute_capability", [0, 0]) >= TF32_CAPABILITY

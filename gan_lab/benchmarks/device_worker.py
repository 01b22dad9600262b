"""The process in which ``benchmark=device`` uses the GPU: it can crash, hang or lose the GPU without ending the command."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gan_lab.benchmarks.device_checks import all_checks
from gan_lab.benchmarks.device_environment import Environment, Skipped, is_sticky, release_memory, run_check
from gan_lab.benchmarks.device_speed import measure_convolution, measure_speed
from gan_lab.runtime.environment import describe_device
from gan_lab.utils.formatting import first_line

Request = dict[str, Any]
"""``task`` is a key of :data:`TASKS`; the rest are its arguments."""

START = "from gan_lab.benchmarks.device_worker import serve; serve()"

START_TIMEOUT = 60.0
"""Seconds that the process has to import torch and to open the device."""

END_TIMEOUT = 10.0
"""Seconds that the process has to end after its last request."""


class Worker:
    """Executes one request at a time in another process, which is started again after it has failed.

    Args:
        device: the device it uses.
        folder: an empty folder for its files.
        steps: training steps of a check.
    """

    def __init__(self, device: torch.device, folder: Path, steps: int) -> None:
        self._settings = {"device": str(device), "folder": str(folder), "steps": steps}
        self._log = folder / "worker.log"
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT)
        self._kill()

    def execute(self, request: Request, timeout: float) -> dict[str, Any]:
        """Execute a request.

        Args:
            request: what to do.
            timeout: seconds after which the process is killed.

        Returns:
            The answer; if there is none, its only entry is ``error``.
        """
        try:
            if self._process is None:
                self._start(min(timeout, START_TIMEOUT))
            answer: dict[str, Any] = self._ask(request, timeout)
        except (OSError, ValueError) as error:
            self._kill()
            return {"error": str(error)}
        if is_sticky(str(answer.get("error") or answer.get("message"))):
            self._kill()
        return answer

    def _start(self, timeout: float) -> None:
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={"CUBLAS_WORKSPACE_CONFIG": ":4096:8", **os.environ},  # read before the first product of matrices
                start_new_session=True,  # Ctrl-C interrupts only this process, which then ends the other
            )
        self._answers = queue.Queue()
        threading.Thread(target=_read_lines, args=(self._process.stdout, self._answers), daemon=True).start()
        self._ask(self._settings, timeout)

    def _ask(self, request: Request, timeout: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):  # the missing answer is reported
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise ValueError(f"no answer within {timeout:.0f} s") from None
        if line:
            return json.loads(line)
        code = self._process.wait()
        ended = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        lines = [line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise ValueError(f"the process ended with {ended}" + (f": {lines[-1].strip()}" if lines else ""))

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            with suppress(OSError):  # what could not be sent
                pipe.close()


def _read_lines(lines: Any, answers: queue.Queue[str]) -> None:
    """Put each line, and at the end an empty one, into the queue."""
    with suppress(ValueError):  # the pipe has been closed
        for line in lines:
            answers.put(line)
    answers.put("")


def serve() -> None:
    """Main function of the process: settings, then requests, as JSON lines on standard input, until it is closed."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    settings = json.loads(sys.stdin.readline())
    environment = Environment(torch.device(settings["device"]), Path(settings["folder"]), settings["steps"])
    torch.zeros(1, device=environment.device)
    answer: dict[str, Any] = {}
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        answer = execute(json.loads(line), environment)


def execute(request: Request, environment: Environment) -> dict[str, Any]:
    """Execute a request in this process; a failure is an answer with the entry ``error`` or ``skipped``."""
    arguments = {name: value for name, value in request.items() if name != "task"}
    try:
        return TASKS[request["task"]](environment, **arguments)
    except Skipped as reason:
        return {"skipped": str(reason)}
    except Exception as error:
        return {"error": first_line(error)}
    finally:
        release_memory(environment.device)


def _check(environment: Environment, name: str, precisions: list[str]) -> dict[str, Any]:
    return run_check(next(check for check in all_checks(precisions) if check.name == name), environment)


def _convolution(environment: Environment, precision: str) -> dict[str, Any]:
    return {"flops_per_second": measure_convolution(environment.device, precision)}


def _facts(environment: Environment) -> dict[str, Any]:
    """The device and the versions that decide what it can do."""
    facts: dict[str, Any] = {"device": describe_device(environment.device), "torch": torch.__version__}
    if environment.device.type == "cuda":
        properties = torch.cuda.get_device_properties(environment.device)
        facts |= {"compute_capability": [properties.major, properties.minor], "memory_gib": properties.total_memory / 2**30}
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return facts


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "check": _check,
    "convolution": _convolution,
    "speed": measure_speed,
    "facts": _facts,
}

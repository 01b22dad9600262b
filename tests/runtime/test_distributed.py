"""Distributed training: several processes compute the same updates as a single one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers import SMALL, every_nth, run_module
from threaded_processes import SEED_LOCK, run_distributed
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from toy_gan import TERMS, flat_weights, make_batch, make_gan, make_phase

from gan_lab.data.loader import Batch
from gan_lab.iteration.metric_averager import MetricAverager
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.models.layers import BatchNorm
from gan_lab.models.sync_batch_norm import convert_sync_batch_norm
from gan_lab.runtime import torchrun
from gan_lab.runtime.device import available_cores, choose_device, set_num_threads
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.runtime.torchrun import PeerProcessFailed


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_rank_computes_the_update_of_the_whole_batch(name: str, accumulate: int) -> None:
    def step(processes: SingleProcess) -> tuple[Tensor, dict[str, float]]:
        with SEED_LOCK:
            gan = make_gan()
        object.__setattr__(gan, "processes", processes)
        phase = make_phase(gan, "g" if name == "g" else "d", TERMS[name], num_micro_batches=accumulate)
        batch, averager = make_batch(), MetricAverager(torch.device("cpu"))
        for _ in range(3):
            averager.add(phase.step(gan, Batch(batch.real[processes.shard(len(batch.real))], None)))
        return flat_weights(phase.network), averager.read(processes)

    expected_weights, expected_metrics = step(SingleProcess())
    for weights, metrics in run_distributed(step):
        torch.testing.assert_close(weights, expected_weights)
        assert metrics == pytest.approx(expected_metrics, rel=1e-5)


def test_sync_batch_norm_matches_batch_norm_of_the_whole_batch_in_both_derivatives() -> None:
    images = torch.randn(8, 3, 4, 4, dtype=torch.float64)

    def run(processes: SingleProcess) -> tuple[Tensor, ...]:
        network = nn.Sequential(BatchNorm(3)).double()
        nn.init.constant_(network[0].weight, 0.5)
        if processes.world_size > 1:
            convert_sync_batch_norm(network, processes.all_reduce_sum, processes.world_size)
        shard = images[processes.shard(len(images))].clone().requires_grad_()
        out = network(shard).tanh()
        (slope,) = torch.autograd.grad(out.sum(), shard, create_graph=True)
        (out.square().sum() + slope.square().sum()).backward()
        return out.detach(), shard.grad, network[0].running_mean, network[0].running_var

    out, gradient, mean, variance = run(SingleProcess())
    first, second = run_distributed(run)
    torch.testing.assert_close(torch.cat([first[0], second[0]]), out)
    torch.testing.assert_close(torch.cat([first[1], second[1]]), gradient)
    for result in (first, second):
        torch.testing.assert_close(result[2], mean)
        torch.testing.assert_close(result[3], variance)


def test_merged_statistics_equal_those_of_all_features() -> None:
    features = torch.randn(50, 4, dtype=torch.float64) * 3 + 100
    merged = MeanCovariance(4)
    for part in (features[:7], features[7:20], features[20:]):
        merged.merge(MeanCovariance.of(part))
    torch.testing.assert_close(merged.mean, features.mean(0))
    torch.testing.assert_close(merged.covariance, features.T.cov())
    assert merged.count == 50


def test_rank_and_world_size_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert not torchrun.is_distributed() and torchrun.add_rank_overrides(["-m", "seed=1,2"]) == ["-m", "seed=1,2"]
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert torchrun.add_rank_overrides(["epochs=1"])[0] == "epochs=1"
    with pytest.raises(ValueError, match="multirun"):
        torchrun.add_rank_overrides(["-m", "seed=1,2"])
    before = torch.get_num_threads()
    try:
        set_num_threads("auto")
        assert torch.get_num_threads() == max(1, available_cores() // 2)
        set_num_threads(available_cores())
        assert torch.get_num_threads() == available_cores() and not caplog.messages
        set_num_threads(available_cores() + 1)
        assert torch.get_num_threads() == available_cores() + 1 and "more threads take longer" in caplog.text
    finally:
        torch.set_num_threads(before)


def test_each_process_uses_the_gpu_of_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="use device=cuda"):
        choose_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"1 CUDA device\(s\)"):
        choose_device("cuda")


def test_the_root_cause_of_a_failure_is_reported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(torchrun.time, "sleep", slept.append)
    assert torchrun.rank_prefix(ValueError()) == ""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert torchrun.rank_prefix(ValueError()) == f"process {rank} of 2: "
    torchrun.rank_prefix(PeerProcessFailed())
    main_process, other_process, after_peer_failure = slept
    assert main_process == 0.0 < other_process < after_peer_failure


def test_a_reported_error_is_the_root_cause_in_torchruns_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    torchrun.report_error("without torchrun nothing is written")
    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    torchrun.report_error("error: no such option")
    first = ProcessFailure(local_rank=1, pid=2, exitcode=1, error_file=str(path))
    second = ProcessFailure(local_rank=0, pid=1, exitcode=-15, error_file=str(tmp_path / "none"))
    lines = str(ChildFailedError("train", {1: first, 0: second})).strip().splitlines()
    assert lines[-2].strip() == "traceback : error: no such option"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "missing" / "error.json"))
    torchrun.report_error("a file that can't be written is ignored")


# -- real processes ------------------------------------------------------------------------------------------------------

PLAIN = [*SMALL, "dataset.limit=320", "batch_size=16", "log.every_kimg=0.016", "num_threads=1"]


TORCHRUN = ("torch.distributed.run", "--standalone")


def launch(*arguments: str, cwd: Path, launcher: Sequence[str] = TORCHRUN) -> subprocess.CompletedProcess[str]:
    """Run ``gan_lab.train`` with two processes of ``torchrun``, or of another launcher."""
    command = [sys.executable, "-m", *launcher, "--nproc-per-node=2", "-m", "gan_lab.train"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.run([*command, *arguments], cwd=cwd, env=own, capture_output=True, text=True, timeout=240, check=False)


def read_metrics(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds" and not k.startswith(("time/", "memory/"))} for row in rows]


@pytest.mark.slow
def test_two_processes_have_the_same_losses_and_scores_as_one(tmp_path: Path) -> None:
    done = launch(*PLAIN, "penalty=r1", "sync_batch_norm=true", "hydra.run.dir=two", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run_module("train", *PLAIN, "penalty=r1", "hydra.run.dir=one", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert len(one) == len(two) == 20 + 2
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        assert {k: b[k] for k in a if "loss" in k} == pytest.approx({k: a[k] for k in a if "loss" in k}, abs=1e-4)
    assert two[0]["fd_fashion"] == pytest.approx(
        one[0]["fd_fashion"], rel=1e-5
    )  # of the same fakes, of which each process generates half
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_the_error_message_is_last_under_torchrun_and_alone_under_launch(tmp_path: Path) -> None:
    message = "process 0 of 2: error: dataset=unknown: no such option"
    done = launch("dataset=unknown", cwd=tmp_path)
    assert done.returncode == 1 and f"\n{message}" in f"\n{done.stderr}"
    report = done.stderr.partition("Root Cause")[2].strip().splitlines()
    assert f"traceback : {message}" in report[-2]
    done = launch("dataset=unknown", cwd=tmp_path, launcher=["gan_lab.launch"])
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("failure", "stderr"),
    every_nth([("os.kill(os.getpid(), 9)", "process 1: error: Signal 9 (SIGKILL)"), ("sys.exit(3)", "")], 2),
)
def test_launch_ends_as_the_first_process_that_fails(failure: str, stderr: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"import os, sys, time\nif os.environ['RANK'] == '1': {failure}\ntime.sleep(30)")
    command = [sys.executable, "-m", "gan_lab.launch", "--nproc-per-node=2", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (1 if stderr else 3)
    assert done.stderr.startswith(stderr) and len(done.stderr.splitlines()) == bool(stderr)


@pytest.mark.slow
def test_a_resume_by_two_processes_is_bit_identical(tmp_path: Path) -> None:
    more = ["augment=diffaugment", "epochs=2"]
    assert launch(*PLAIN, *more, "hydra.run.dir=whole", cwd=tmp_path).returncode == 0
    assert launch(*PLAIN, "augment=diffaugment", "epochs=1", "hydra.run.dir=parts", cwd=tmp_path).returncode == 0
    done = launch("resume=parts", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    whole, parts = (
        torch.load(tmp_path / run / "checkpoints" / "last.pt", weights_only=True)["generator"] for run in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_with_its_message(tmp_path: Path) -> None:
    done = launch(*PLAIN, "optimizer.lr=1e30", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode != 0
    assert "process 0 of 2: error: diverged" in done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "diverged"
    done = launch(*PLAIN, "batch_size=15", cwd=tmp_path)
    assert "process 0 of 2: error: batch_size=15: must be divisible by 2 (processes) times 1" in done.stderr
    assert "process 1 of 2" not in done.stderr

"""Gradients that are averaged during the backward pass equal those averaged in one message after it, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from helpers import every_nth, make_job
from threaded_processes import SEED_LOCK, Threaded, run_distributed
from torch import Tensor, nn

from gan_lab.building.gan import build_gan
from gan_lab.building.precision import build_precision
from gan_lab.building.schedule import build_progress
from gan_lab.building.tasks import build_task
from gan_lab.building.updater import build_updater
from gan_lab.config import Job
from gan_lab.data.loader import Batch
from gan_lab.iteration.gradient_reduction import OverlappedReduction, overlapped_reduction
from gan_lab.models.layers import BatchNorm
from gan_lab.models.sync_batch_norm import convert_sync_batch_norm
from gan_lab.runtime.device import seed_everything
from gan_lab.runtime.distributed import SingleProcess

CPU = torch.device("cpu")
SMALL_DCGAN = ["model=dcgan_small", "batch_size=12"]

CONFIGURATIONS = {
    "plain": SMALL_DCGAN,
    "micro-batches": [*SMALL_DCGAN, "gradient_accumulation_steps=2"],
    "penalty": [*SMALL_DCGAN, "loss=wasserstein", "penalty=gradient_penalty"],
    "lazy penalty": [*SMALL_DCGAN, "penalty=r1", "penalty.interval=2"],
    "n_critic": [*SMALL_DCGAN, "n_critic=2"],
    "reused fakes": [*SMALL_DCGAN, "reuse_fakes=true"],
    "recomputed activations": [*SMALL_DCGAN, "activation_checkpointing=true", "penalty=r1"],
    "clipping": [*SMALL_DCGAN, "max_grad_norm=0.1"],
    "growth": ["model=progan_small", "model.channel_base=16", "epochs=2", "batch_size=6", "model.growth.max_batch_size=12"],
}


def train(processes: Threaded, job: Job, bucket_bytes: int | None, iterations: int) -> list[Tensor]:
    """The weights of both networks after some iterations; ``bucket_bytes=None``: with one message after the backward pass."""
    cfg = job.cfg.copy()  # building writes into it
    with SEED_LOCK:
        precision, task = build_precision(job, CPU), build_task(cfg)
        loader = task.loader(precision, processes)
        seed_everything(cfg.seed, False)
        gan = build_gan(cfg, loader.data, precision, processes, task.latents())
        progress = build_progress(cfg, loader, CPU)
        updater = build_updater(cfg, gan, precision, progress, task.image_size)
    for phase in updater.phases:
        reduction = None if bucket_bytes is None else OverlappedReduction(phase.network, processes, bucket_bytes)
        phase.overlapped_reduction = reduction
    shape = next(loader.batches(0, lambda images: 6)).real.shape[1:]
    for iteration in range(iterations):
        count = updater.growth.state_at(progress.images).batch_size
        real = torch.randn(count, *shape, generator=torch.Generator().manual_seed(iteration)).clamp(-1, 1)
        updater.update(Batch(real[processes.shard(count)], None), progress)
    return [p.detach() for network in (gan.generator, gan.discriminator) for p in network.parameters()]


@pytest.mark.parametrize("name", every_nth(CONFIGURATIONS, 6))
def test_training_is_the_same_as_with_one_message_per_update(name: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, *CONFIGURATIONS[name], "reuse_fakes=false" if name != "reused fakes" else "reuse_fakes=true")
    iterations = 24 if name == "growth" else 4

    def overlapped(processes: Threaded) -> tuple[list[Tensor], list[int]]:
        return train(processes, job, 4096, iterations), processes.async_sizes

    single = run_distributed(lambda processes: train(processes, job, None, iterations))
    for (weights, sizes), expected in zip(run_distributed(overlapped), single, strict=True):
        assert len(sizes) > iterations, "most updates start several messages during the backward pass"
        assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


class Branches(nn.Module):
    """Layers of which a forward pass uses those it is given the numbers of."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(4))

    def forward(self, inputs: Tensor, used: list[int]) -> Tensor:
        for number in used:
            inputs = self.layers[number](inputs)
        return inputs


@pytest.mark.parametrize("world_size", [2, 3])
def test_parameters_without_a_gradient_stay_without_one(world_size: int) -> None:
    """Sets of layers change between updates, and the micro-batches of an update use different ones."""
    updates = [[[0, 1, 2, 3]], [[0, 1, 2, 3]], [[0, 1]], [[0, 1]], [[3, 0, 2]], [[3, 0, 2]], [[0, 1], [2, 3]], [[2], [0, 1, 2]]]

    def gradients(processes: Threaded, overlap: bool) -> list[list[Tensor | None]]:
        with SEED_LOCK:
            torch.manual_seed(0)
            network = Branches()
        reduction, results = OverlappedReduction(network, processes, bucket_bytes=1), []
        for number, micro_batches in enumerate(updates):
            network.zero_grad(set_to_none=True)
            for used in micro_batches:
                inputs = torch.randn(2, 4, generator=torch.Generator().manual_seed(10 * number + processes.rank))
                if overlap and used is micro_batches[-1]:
                    reduction.start("update")
                network(inputs, used).square().sum().backward()
            if overlap:
                reduction.finish()
            else:
                processes.all_reduce_mean_([p.grad for p in network.parameters() if p.grad is not None])
            results.append([p.grad for p in network.parameters()])
        return results

    expected = run_distributed(lambda processes: gradients(processes, False), world_size)
    found = run_distributed(lambda processes: gradients(processes, True), world_size)
    for rank_found, rank_expected in zip(found, expected, strict=True):
        for a, b in zip(chain(*rank_found), chain(*rank_expected), strict=True):
            assert a is b is None or (a is not None and b is not None and torch.equal(a, b))


def test_buckets_hold_the_last_layers_first_and_have_a_least_size() -> None:
    def sizes(processes: Threaded) -> list[int]:
        network = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(5)))  # 64 bytes each
        reduction = OverlappedReduction(network, processes, bucket_bytes=100)
        for _ in range(2):
            network.zero_grad(set_to_none=True)
            reduction.start("update")
            network(torch.ones(1, 4)).sum().backward()
            reduction.finish()
        return processes.async_sizes

    assert run_distributed(sizes) == [[2, 2, 1]] * 2


def test_a_gradient_that_is_accumulated_twice_in_a_backward_pass_is_reported() -> None:
    network = nn.Linear(4, 4)
    reduction = OverlappedReduction(network, SingleProcess())
    reduction.start("update")
    network(torch.ones(1, 4)).sum().backward()
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        network(torch.ones(1, 4)).sum().backward()


def test_one_process_synchronized_batch_norm_and_cpus_have_no_overlap() -> None:
    cuda = torch.device("cuda")

    def reduction(processes: Threaded, network: nn.Module, opponent: nn.Module, device: torch.device = cuda) -> bool:
        return overlapped_reduction(network, opponent, processes, device) is not None

    plain, synchronized = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(BatchNorm(2))
    assert run_distributed(lambda processes: reduction(processes, plain, plain)) == [True, True]
    assert run_distributed(lambda processes: reduction(processes, plain, plain, CPU)) == [False, False]
    assert overlapped_reduction(plain, plain, SingleProcess(), cuda) is None
    convert_sync_batch_norm(synchronized, lambda values: values, 2)
    for pair in ((plain, synchronized), (synchronized, plain)):
        assert run_distributed(lambda processes, pair=pair: reduction(processes, *pair)) == [False, False]


SCRIPT = """
import torch
from torch import nn
from gan_lab.iteration.gradient_reduction import OverlappedReduction
from gan_lab.runtime.distributed import init_distributed

processes = init_distributed(torch.device("cpu"))
torch.manual_seed(0)
network = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8)))
reduction = OverlappedReduction(network, processes, bucket_bytes=2**14)
torch.manual_seed(processes.rank)
for iteration in range(6):
    inputs = torch.randn(32, 64)
    results = []
    for overlap in (False, True):
        network.zero_grad(set_to_none=True)
        if overlap:
            reduction.start("update")
        with torch.autocast("cpu", torch.bfloat16, enabled=iteration > 2):
            loss = network(inputs).square().sum()
        loss.backward()
        if overlap:
            reduction.finish()
        else:
            processes.all_reduce_mean_([p.grad for p in network.parameters()])
        results.append([p.grad for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
processes.destroy()
print("equal")
"""


@pytest.mark.slow
def test_processes_of_torchrun_compute_the_same_gradients(tmp_path: Path) -> None:
    (tmp_path / "compare.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "compare.py"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout.count("equal") == 2, done.stdout + done.stderr

"""Prove that a refactoring changes no number: fingerprints of tiny trainings of two versions of the code, compared to the bit.

::

    python tests/fingerprint.py CHECKOUT OUT.json [--only NAME]          # train with the code in CHECKOUT, write OUT.json
    python tests/fingerprint.py --compare A.json B.json [--only NAME]    # print differences; exit code 1 if there are any

Each configuration of ``RUNS`` is trained by the real command line in a scratch folder, on the CPU, with one thread and without
a network. The fingerprint is the rows of ``metrics.jsonl`` without times and memory, and hashes of ``checkpoints/last.pt`` and
``samples/final.png``: of values in their order, not of names. Compare only what was made on the same machine in the same
environment: other processors and versions of PyTorch round differently.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

COMMON = "debug=tiny device=cpu num_threads=1 console=plain"

RUNS = {
    "default": "",
    "dcgan": "model=dcgan loss=bce loss.label_smoothing=0.1 optimizer=adam n_critic=2",
    "progan_small": "model=progan_small penalty=[gradient_penalty,drift] model.growth.max_batch_size=32",
    "sngan_projection": "model=sngan conditioning=projection n_critic=2",
    "sagan": "model=sagan loss=[hinge,feature_matching]",
    "dcgan_cifar": "model=dcgan_cifar loss=minimax optimizer=adamw dataset.mirror=true",
    "wgan_gp": "model=wgan_gp dataset.channels=3 reuse_fakes=false",
    "ada_lazy_r1": "augment=ada augment.ada.p=0.3 augment.ada.kimg=1 penalty=r1 penalty.interval=2",
    "diffaugment_instance_noise": "augment=[diffaugment,instance_noise] loss=lsgan "
    "discriminator_passes=split dataset.channels=3",
    "relativistic_r1_r2": "loss=relativistic penalty=r1_r2 penalty.gamma=1 model=dcgan model.norm=layer schedule=linear",
    "auxiliary_classifier": "conditioning=auxiliary_classifier loss=[bce,feature_matching]",
    "conditional_batch_norm": "conditioning=conditional_batch_norm evaluation=full penalty=dragan loss=relativistic_average",
    "accumulate_clip": "gradient_accumulation_steps=2 max_grad_norm=0.5 "
    "model=dcgan model.norm=instance optimizer=sgd schedule=steps",
    "recompute": "activation_checkpointing=true model=sngan_deep model.attention=16 conditioning=concatenation n_critic=1",
    "bf16": "precision=bf16 evaluation=none",
    "int16": "precision=int16",
    "fp64": "precision=fp64 dataset.classes=[bag,coat]",
    "rmsprop_cosine": "optimizer=rmsprop schedule=cosine ema=none loss=wasserstein penalty=weight_clipping n_critic=2",
    "srgan_small": "model=srgan_small degradation=bicubic pretraining=pixels dataset=folder dataset.path=pictures "
    "degradation.patch=32 degradation.patches=4 batch_size=4 evaluation.num_reals=2 model.blocks=2 sample.count=2",
    "resume": "epochs=1 augment=instance_noise dataset.mirror=true",
}
"""Command lines."""

RESUMED = {"resume": ["epochs=2"]}
"""Runs that are resumed after their end, and with which overrides."""

TIME_DEPENDENT = re.compile("seconds$|time/|memory/")
"""Names of metrics that differ from one run to the next."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs=2, type=Path, metavar="PATH", help="CHECKOUT OUT.json, or A.json B.json with --compare")
    parser.add_argument("--compare", action="store_true", help="print the differences between two files")
    parser.add_argument("--only", action="append", choices=[*RUNS], metavar="NAME", help="this configuration; may be repeated")
    arguments = parser.parse_args()
    names = arguments.only or [*RUNS]
    if arguments.compare:
        a, b = (json.loads(path.read_text(encoding="utf-8")) for path in arguments.paths)
        found = [f"{name}: {line}" for name in names for line in differences(a.get(name), b.get(name))]
        print("\n".join(found) or f"no difference in {len(names)} configurations")
        return 1 if found else 0
    checkout, out = (path.resolve() for path in arguments.paths)
    with tempfile.TemporaryDirectory(prefix="fingerprint-") as scratch:
        results = train_all(checkout, Path(scratch), names)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if len(results) == len(names) else 1


def train_all(checkout: Path, scratch: Path, names: list[str]) -> dict[str, Any]:
    """Fingerprints by name, one training after the other; those that fail are reported and left out."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    folders = {"GAN_LAB_DATA": str(scratch / "data"), "GAN_LAB_WEIGHTS": str(scratch / "weights"), "PYTHONPATH": str(checkout)}
    read_only = {"PYTHONDONTWRITEBYTECODE": "1", "GIT_OPTIONAL_LOCKS": "0"}  # the checkout is left as it is
    environment = {**os.environ, **nowhere, **folders, **read_only, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["nice", "-n", "5", sys.executable, *arguments]
        return subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)

    where = python("-c", "import gan_lab; print(gan_lab.__file__)").stdout.strip()
    if Path(where).resolve().parent != checkout / "gan_lab":
        raise SystemExit(f"gan_lab would be imported from {where or 'nowhere'}, not from {checkout}")
    write_images(scratch / "pictures")
    results = {}
    for name in names:
        start = time.perf_counter()
        more = [f"resume={name} {overrides}" for overrides in RESUMED.get(name, [])]
        for line in [f"{COMMON} {RUNS[name]} hydra.run.dir={name}", *more]:
            overrides = line.split()
            done = python("-m", "gan_lab.train", *overrides)
            if done.returncode:
                print(f"{name}: FAILED: {' '.join(overrides)}\n{(done.stdout + done.stderr)[-3000:]}", flush=True)
                break
        else:
            results[name] = fingerprint(scratch / name)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return results


def write_images(folder: Path, count: int = 12) -> None:
    """Small images of different sizes, the same in every call."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        blobs = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        blobs.resize((70 - number, 48 + number), Image.Resampling.BICUBIC).save(folder / f"{number}.png")


def fingerprint(folder: Path) -> dict[str, Any]:
    """What must not change of a finished run."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if not TIME_DEPENDENT.match(k)} for line in lines]
    state = torch.load(folder / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)
    hashes = {name: sha256(state[name]) for name in ("generator", "discriminator", "generator_ema", "augment", "rng_states")}
    hashes |= {f"optimizer {name}": sha256(phase["optimizer"]) for name, phase in state["phases"].items()}
    with Image.open(folder / "samples" / "final.png") as image:
        hashes["final.png"] = sha256(torch.from_numpy(np.array(image)))
    return {"sha256": hashes, "metrics": rows}


def sha256(value: Any) -> str:
    return hashlib.sha256(b"".join(leaves(value))).hexdigest()


def leaves(value: Any) -> Iterator[bytes]:
    """The bytes of all tensors, and of the other values between them, in order."""
    if isinstance(value, torch.Tensor):
        yield value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(part)
    else:
        yield repr(value).encode()


def differences(a: dict[str, Any] | None, b: dict[str, Any] | None) -> Iterator[str]:
    """In words: where each name differs first, and which names stand for the same values in the same place."""
    if a is None or b is None:
        yield "missing in the first file" if a is None else "missing in the second file"
        return
    rows_a, rows_b = [a["sha256"], *a["metrics"]], [b["sha256"], *b["metrics"]]
    if len(rows_a) != len(rows_b):
        yield f"{len(rows_a) - 1} rows of metrics and {len(rows_b) - 1}"
    seen: set[str] = set()
    for number, (one, two) in enumerate(zip(rows_a, rows_b, strict=False)):
        where = f"metrics row {number}" if number else "sha256"
        if [*one] != [*two] and [*one.values()] == [*two.values()]:
            found = {f"{x} -> {y}": "the same value under another name" for x, y in zip(one, two, strict=True) if x != y}
        else:
            pairs = {name: (one.get(name, "nothing"), two.get(name, "nothing")) for name in [*one, *two]}
            found = {name: f"{x} and {y}" for name, (x, y) in pairs.items() if x != y}
        yield from (f"{where}: {name}: {what}" for name, what in found.items() if name not in seen)
        seen |= found.keys()


if __name__ == "__main__":
    sys.exit(main())

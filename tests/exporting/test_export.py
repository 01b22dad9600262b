"""Exported generators give the run's images, in other programs and as a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from helpers import every_nth, make_job, run_module

from gan_lab import Run
from gan_lab.building.trainer import build_trainer
from gan_lab.config import write_config
from gan_lab.exporting.hub_folder import export_folder, push
from gan_lab.exporting.programs import _compare, export_onnx, export_program
from gan_lab.exporting.standalone import inputs, standalone
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.storage.weights_file import load_weights

TINY = ["dataset.size=16", "evaluation=none"]
GENERATORS = {
    "conditional": ["model=dcgan", *TINY, "conditioning=conditional_batch_norm"],
    "styles": ["model=stylegan2_small", *TINY, "conditioning=projection"],
    "half grown": ["model=progan_small", *TINY],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Untrained runs by name."""
    opened: dict[str, Run] = {}

    def get(name: str) -> Run:
        if name not in opened:
            torch.manual_seed(0)
            job = make_job(tmp_path_factory.mktemp("run"), *GENERATORS[name])
            trainer = build_trainer(job)
            if name == "half grown":
                trainer.updater.gan.generator.set_resolution(8, 0.5)  # type: ignore[attr-defined]
                trainer.updater.ema.network.set_resolution(8, 0.5)  # type: ignore[attr-defined]
            trainer.checkpointer.save("last")
            trainer.checkpointer.wait()
            write_config(job)
            opened[name] = Run.open(job.directory.path)
        return opened[name]

    return get


@pytest.mark.parametrize("name", every_nth(GENERATORS, 3))
def test_onnx_gives_the_images_of_the_run(name: str, runs: Callable[[str], Run], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = runs(name)
    export_onnx(run, tmp_path / "g.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    for count in (1, 5):
        labels = run.labels.sample(count, run.device, torch.Generator().manual_seed(count))
        latents = run.latents.sample(count, run.device, torch.Generator().manual_seed(count))
        given = {"latents": latents.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
        given |= {"truncation": torch.tensor(0.5).numpy()} if name == "styles" else {}
        expected = run.render(run.styles(latents, labels, 0.5 if name == "styles" else None), labels)
        images = torch.from_numpy(session.run(["images"], given)[0])
        assert images.shape == expected.shape
        assert (images * 255 - expected).abs().max() < 0.51, "before it is rounded to uint8"
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["classes"]) == list(run.labels.names) and known["output"] == "images with values in [0, 1]"


@pytest.mark.slow
def test_an_exported_upscaler_takes_images_of_any_size(upscaling: RunDirectory, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = Run.open(upscaling.path)
    export_onnx(run, tmp_path / "g.onnx")
    image = torch.randint(0, 256, (3, 9, 21), dtype=torch.uint8)
    result = onnxruntime.InferenceSession(tmp_path / "g.onnx").run(["upscaled"], {"images": (image[None] / 255).numpy()})
    assert (torch.from_numpy(result[0])[0] * 255 - run.upscale(image)).abs().max() < 0.51


@pytest.mark.slow
def test_a_pytorch_program_needs_no_gan_lab(runs: Callable[[str], Run], tmp_path: Path) -> None:
    run = runs("styles")
    export_program(run, tmp_path / "g.pt2")
    values = {name: value.example for name, value in inputs(run, 4, seed=9).items()}
    program = torch.export.load(tmp_path / "g.pt2")
    torch.testing.assert_close(program.module()(**values), standalone(run)(**values))


def test_a_program_with_other_results_is_not_accepted(runs: Callable[[str], Run]) -> None:
    run = runs("conditional")
    module = standalone(run)
    with pytest.raises(ValueError, match=r"pixel values differ from PyTorch's by 0\.01; nothing was written"):
        _compare(run, module, lambda values: module(**values) + 0.01)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_folder_is_opened_like_the_run(name: str, runs: Callable[[str], Run], tmp_path: Path) -> None:
    run = runs(name)
    export_folder(run, tmp_path / "gan")
    opened = Run.open(tmp_path / "gan")
    assert torch.equal(opened.sample(3, seed=2), run.sample(3, seed=2)) and opened.labels.names == run.labels.names
    assert opened.images_seen == run.images_seen and opened.summary == run.summary
    with pytest.raises(ValueError, match="no checkpoint at"):
        Run.open(tmp_path / "gan", checkpoint="best")


def test_the_command_writes_each_format_once(finished: RunDirectory, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    done = run_module("export", "run=run", "out=g.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tensors = safetensors.torch.load_file(tmp_path / "g.safetensors")
    state = Run.open(tmp_path / "run").generator.state_dict()
    assert tensors.keys() == state.keys() and all(torch.equal(value, state[name]) for name, value in tensors.items())
    assert (tmp_path / "g.yaml").read_text() == finished.config.read_text()
    done = run_module("export", "run=run", "out=g.safetensors", cwd=tmp_path)
    assert done.returncode == 1 and "g.safetensors exists already: choose another out=" in done.stderr
    (tmp_path / "g.safetensors").unlink()
    done = run_module("export", "run=run", "out=g.safetensors", cwd=tmp_path)
    assert done.returncode == 1 and "g.yaml exists already" in done.stderr
    done = run_module("export", "run=run", "out=gan", cwd=tmp_path)
    card = (tmp_path / "gan" / "README.md").read_text()
    score = Run.open(tmp_path / "run").summary["score"]
    assert f"| {score} |" in card and "- protocol default:" in card and "![samples](samples/final.png)" in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out=g.tflite"], r"out=g.tflite: must end in .safetensors, .onnx, .pt2, or be a folder"),
        (["out=g.onnx", "push=me/gan"], "push=me/gan: uploads a folder"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run_module("export", "run=run", *arguments, cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr and not list(tmp_path.iterdir())


def test_initial_weights_are_read_from_safetensors(runs: Callable[[str], Run], tmp_path: Path) -> None:
    run = runs("conditional")
    export_folder(run, tmp_path / "gan")
    for path in ("gan", "gan/model.safetensors"):
        weights = ["initial_weights=run", f"initial_weights.path={tmp_path / path}", "initial_weights.discriminator=false"]
        trainer = build_trainer(make_job(tmp_path / "run", *GENERATORS["conditional"], *weights))
        state = trainer.updater.gan.generator.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in run.generator.state_dict().items())


def test_a_checkpoint_comes_before_an_exported_generator(runs: Callable[[str], Run]) -> None:
    run = runs("conditional")
    run.directory.weights.write_bytes(b"older")
    try:
        assert Run.open(run.directory.path).images_seen == run.images_seen
    finally:
        run.directory.weights.unlink()


def test_other_safetensors_files_are_no_run(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no metadata of gan_lab"):
        load_weights(tmp_path / "other.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_weights(tmp_path / "damaged.safetensors")


def test_a_folder_is_pushed_as_a_private_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    calls: list[object] = []
    api = SimpleNamespace(
        create_repo=lambda name, **options: calls.append((name, options)),
        upload_folder=lambda repo_id, folder_path: calls.append((repo_id, folder_path)) or f"https://hub/{repo_id}",
    )
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    assert push(tmp_path, "me/gan") == "https://hub/me/gan"
    assert calls == [("me/gan", {"private": True, "exist_ok": True}), ("me/gan", tmp_path)]

    def fail(*args: object, **options: object) -> None:
        raise OSError("no network\nand more")

    api.create_repo = fail
    with pytest.raises(ValueError, match=r"push=me/gan: no network\. The folder .* is complete"):
        push(tmp_path, "me/gan")

"""Conditional GANs: labels from the dataset to training, sample grids and the sample command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_same, make_job, run_module, train, write_celeba
from PIL import Image

from gan_lab.building.trainer import build_trainer
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.step_context import StepContext
from gan_lab.models.labels import Labels, NoLabels, labels_from_state
from gan_lab.runs.run import Run
from gan_lab.sampling.output import file_prefixes
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import image_grid

CPU = torch.device("cpu")


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- labels ----------------------------------------------------------------------------------------------------------------


def test_classes_are_encoded_one_hot_and_drawn_with_their_frequencies() -> None:
    labels = Labels.from_dataset(["a", "b", "c"], torch.tensor([0, 2, 2, 2] * 500))
    assert torch.equal(labels.encode(torch.tensor([2, 0])), torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    frequencies = labels.sample(4000, CPU, random()).mean(0)
    torch.testing.assert_close(frequencies, torch.tensor([0.25, 0.0, 0.75]), atol=0.03, rtol=0)


def test_of_many_labels_a_representative_sample_is_stored() -> None:
    many = torch.arange(100_000) % 10
    many[77_777] = 10
    labels = Labels.from_dataset([str(n) for n in range(12)], many)
    assert len(labels.table) <= 16_385 and labels.available_classes() == [str(n) for n in range(11)], (
        "including a rare one, without an absent one"
    )
    assert labels.sample(5000, CPU, random()).mean(0)[:10].min() > 0.05
    rare = torch.zeros(100_000, 2, dtype=torch.uint8)
    rare[:, 0], rare[31_415, 1] = 1, 1
    assert Labels.from_dataset(["frequent", "rare"], rare).for_classes(["rare"], 1, random()).tolist() == [[1, 1]]


def test_classes_are_chosen_by_name_or_number() -> None:
    labels = Labels.from_dataset(["rose", "tank"], torch.tensor([0, 1]))
    assert labels.for_classes(["tank", "rose"], 2, random()).argmax(1).tolist() == [1, 1, 0, 0]
    assert labels.for_classes([1], 2, random()).argmax(1).tolist() == [1, 1]
    with pytest.raises(ValueError, match="one is named twice"):
        labels.for_classes(["tank", "tank"], 1, random())
    with pytest.raises(ValueError, match="there is no rosa; did you mean rose"):
        labels.for_classes(["rosa"], 1, random())
    with pytest.raises(ValueError, match="trained without conditioning"):
        NoLabels().for_classes(["rose"], 1, random())


def test_attributes_are_drawn_in_combinations_of_the_data() -> None:
    rows = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 1, 0]], dtype=torch.uint8)
    labels = Labels.from_dataset(["Smiling", "Hat", "Young"], rows)
    drawn = {tuple(row) for row in labels.sample(200, CPU, random()).tolist()}
    assert drawn == {tuple(map(float, row)) for row in rows.tolist()}
    assert {tuple(r) for r in labels.for_classes(["Hat"], 50, random()).tolist()} == {(0, 1, 1), (0, 1, 0)}
    assert {tuple(r) for r in labels.for_classes(["-Young"], 50, random()).tolist()} == {(0, 1, 0)}
    none = Labels.from_dataset(["Bald", "Hat"], rows[:, 1:] * torch.tensor([0, 1], dtype=torch.uint8))
    assert none.available_classes() == ["Hat"]
    with pytest.raises(ValueError, match="none of the training images had Bald"):
        none.for_classes(["Bald"], 1, random())


def test_labels_are_restored_from_their_state() -> None:
    labels = Labels.from_dataset(["a", "b"], torch.tensor([0, 1, 1]))
    again = labels_from_state(labels.state_dict())
    assert again.names == ("a", "b") and torch.equal(again.table, labels.table)  # type: ignore[union-attr]
    assert isinstance(labels_from_state(NoLabels().state_dict()), NoLabels)


# -- training --------------------------------------------------------------------------------------------------------------


def test_fakes_are_generated_and_discriminated_with_the_labels_of_the_reals(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, "conditioning=projection"))
    batch = next(trainer.loader.batches())
    received: list[torch.Tensor] = []
    for network in (trainer.updater.gan.generator, trainer.updater.gan.discriminator):
        network.register_forward_hook(lambda module, arguments, output: received.append(arguments[1]))
    for phase in trainer.updater.phases:
        phase.step(trainer.updater.gan, batch)
    assert batch.labels is not None and len(received) == 2 + 3  # generator step: G, D; discriminator step: G, D, D
    assert all(torch.equal(labels.argmax(1), batch.labels) for labels in received)


def test_a_data_set_without_labels_is_refused(tmp_path: Path) -> None:
    for n in range(70):
        Image.new("L", (32, 32), n).save(tmp_path / f"{n}.png")
    with pytest.raises(ValueError, match="conditioning: folder has no classes"):
        build_trainer(make_job(tmp_path / "run", "dataset=folder", f"dataset.path={tmp_path}", "conditioning=projection"))


def test_the_number_of_classes_comes_from_the_data_set(tmp_path: Path) -> None:
    job = make_job(tmp_path, "conditioning=concatenation", "dataset.classes=[bag,sandal,coat]")
    build_trainer(job)
    assert job.cfg.conditioning.num_classes == 3
    with pytest.raises(ValueError, match="num_classes=7: the dataset has 10"):
        build_trainer(make_job(tmp_path, "conditioning=concatenation", "conditioning.num_classes=7"))


def test_classes_without_images_and_without_a_row_in_the_grid_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "two.npz", images=np.zeros((16, 8, 8), np.uint8), labels=np.arange(16) % 2 * 2)
    arguments = ["dataset=folder", f"dataset.path={tmp_path / 'two.npz'}", "dataset.size=16", "batch_size=4"]
    with caplog.at_level("INFO"):
        build_trainer(make_job(tmp_path / "run", *arguments, "conditioning=projection", "evaluation=none", "sample.count=1"))
    assert "no image is of class 1, which will be neither trained nor drawn" in caplog.text
    assert "the sample grids show 1 of the 2 classes; sample.count=2 sample.columns=1 shows all of them" in caplog.text


@pytest.mark.slow
def test_a_conditional_gan_learns_the_classes(tmp_path: Path) -> None:
    """Two classes of uniform images, dark and bright: after some steps the generated images of each have its brightness."""
    for n in range(64):
        for name, level in (("bright", 205), ("dark", 50)):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), level + n % 8).save(tmp_path / "data" / name / f"{n}.png")
    trainer = build_trainer(
        make_job(
            tmp_path / "run",
            "dataset=folder",
            f"dataset.path={tmp_path / 'data'}",
            "dataset.size=16",
            "dataset.channels=1",
            "dataset.limit=128",
            "dataset.seed=0",
            "conditioning=projection",
            "model.width=8",
            "epochs=30",
            "ema=none",
            "evaluation=none",
            "optimizer.lr=2e-3",
        )
    )
    trainer.train()
    labels = trainer.updater.gan.labels.for_classes(["bright", "dark"], 8, random())
    images = trainer.records.sampler.generate(trainer.updater.gan.latents.sample(16, CPU, random()), labels).float()
    assert images[:8].mean() > images[8:].mean() + 60


# -- a run -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("conditional")
    done = train("conditioning=auxiliary_classifier", "sample.count=24", "epochs=2", "hydra.run.dir=run", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return cwd


def test_class_losses_and_accuracies_of_both_networks_are_logged(conditional: Path) -> None:
    row = next(row for row in RunDirectory(conditional / "run").history() if "d/loss" in row)
    assert {"d/labels", "g/labels", "d/class_accuracy_real", "g/class_accuracy_fake"} <= set(row)
    assert row["d/loss"] == pytest.approx(row["d/hinge"] + row["d/labels"], rel=1e-4)


def test_the_sample_grid_has_a_named_row_for_each_class(conditional: Path) -> None:
    run = RunDirectory(conditional / "run")
    with Image.open(run.final) as samples, Image.open(run.reals) as reals:
        assert samples.size == reals.size and samples.height == 2 * (10 * 34 - 2), "ten classes, a row each"
        assert samples.width > 2 * (2 * 34) + 30, "two columns and a margin"
        margin = np.asarray(samples)[:, : samples.width - 2 * (2 * 34)]
    named = [margin[68 * n : 68 * (n + 1)].max() > 128 for n in range(10)]
    assert all(named)


def test_sample_takes_classes(conditional: Path) -> None:
    done = run_module("sample", "run=run", "classes=[bag,sneaker]", "count=5", cwd=conditional)
    assert done.returncode == 0, done.stderr
    folder = conditional / "run" / "samples" / "last-seed-0-bag-sneaker"
    assert {p.name for p in folder.iterdir()} == {f"{name}-{n}.png" for name in ("bag", "sneaker") for n in range(5)}
    assert folder.with_suffix(".png").is_file()
    run = Run.open(conditional / "run")
    images = run.sample(5, classes=["bag", "sneaker"])
    assert images.shape == (10, 1, 32, 32)
    with Image.open(folder / "sneaker-2.png") as image:
        assert np.array_equal(np.asarray(image), images[7, 0].numpy())
    assert run.labels.names[8] == "bag" and run.sample(3).shape == (3, 1, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classes=[hat]"], "classes: there is no hat; did you mean"),
        (["classes=hat"], "classes: there is no hat; did you mean"),
        (["truncation=-1"], "truncation=-1.0: must be positive"),
        (["standing_statistics=0"], "standing_statistics=0"),
    ],
)
def test_invalid_arguments_of_sample_are_refused(conditional: Path, arguments: list[str], message: str) -> None:
    done = run_module("sample", "run=run", *arguments, cwd=conditional)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not list((conditional / "run" / "samples").glob("last*hat*"))


def test_truncation_and_standing_statistics_change_the_images(conditional: Path) -> None:
    run = Run.open(conditional / "run")
    plain, truncated = run.sample(8), run.sample(8, truncation=0.5)
    assert not torch.equal(plain, truncated)
    assert run.use_standing_statistics(4, 16)
    assert not torch.equal(run.sample(8), plain)
    done = run_module("sample", "run=run", "truncation=0.5", "standing_statistics=4", "count=4", cwd=conditional)
    assert done.returncode == 0 and "truncation-0.5-standing-4" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("conditioning", ["concatenation", "auxiliary_classifier"])
def test_a_resumed_conditional_run_equals_an_uninterrupted_one(conditioning: str, tmp_path: Path) -> None:
    common = [f"conditioning={conditioning}", "console=plain", "log.every_kimg=0.016"]
    assert train(*common, "epochs=3", "hydra.run.dir=whole", cwd=tmp_path).returncode == 0
    assert train(*common, "epochs=1", "hydra.run.dir=parts", cwd=tmp_path).returncode == 0
    resumed = run_module("train", "resume=parts", "epochs=3", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "parts"))


@pytest.mark.slow
def test_attributes_are_labels_too(tmp_path: Path) -> None:
    """CelebA's labels are attributes: an image may have several."""
    write_celeba(tmp_path / "data", zipped=False)
    common = [
        "dataset=celeba",
        f"dataset.root={tmp_path / 'data'}",
        "dataset.size=16",
        "dataset.channels=3",
        "dataset.limit=null",
    ]
    done = train(*common, "conditioning=auxiliary_classifier", "batch_size=2", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    labels = Run.open(tmp_path / "run").labels
    names = labels.available_classes()
    assert labels.multi_label and names and labels.for_classes(names[:1], 3, random())[:, labels.names.index(names[0])].all()  # type: ignore[union-attr]
    done = run_module("sample", "run=run", f"classes=[{names[0]}]", "count=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "finished"


def test_row_names_only_add_a_margin_to_a_grid() -> None:
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    plain, named = image_grid(images, 2), image_grid(images, 2, row_names=["x", "y"])
    assert plain.size == (18, 18) and named.height == 18
    assert named.crop((named.width - 18, 0, named.width, 18)).tobytes() == plain.tobytes()


def test_without_conditioning_there_are_no_labels(tmp_path: Path) -> None:
    gan: GAN = build_trainer(make_job(tmp_path)).updater.gan
    context = StepContext(gan, torch.zeros(2, 1, 32, 32), torch.zeros(2, 100), generator_step=False)
    assert context.labels is None and not context.multi_label
    assert ImageDataset.from_arrays(np.zeros((2, 4, 4, 1), np.uint8)).labels is None


@pytest.mark.parametrize(
    ("arguments", "replacement"),
    [
        (["loss=[bce,feature_matching]", "augment=ada", "augment.ada.kimg=0.1", "gradient_accumulation_steps=2"], "loss=hinge"),
        (["penalty=[r1,drift]", "penalty.interval=3", "precision=fp16"], "penalty=[gradient_penalty]"),
    ],
)
@pytest.mark.slow
def test_a_resumed_run_keeps_its_lists_of_choices(arguments: list[str], replacement: str, tmp_path: Path) -> None:
    common = [*arguments, "console=plain", "log.every_kimg=0.016", "batch_size=8"]
    whole = train(*common, "epochs=3", "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0 and arguments[0].partition("[")[2][:-1].replace(",", "+") in whole.stdout, whole.stderr
    assert train(*common, "epochs=1", "hydra.run.dir=parts", cwd=tmp_path).returncode == 0
    refused = run_module("train", "resume=parts", replacement, cwd=tmp_path)
    assert refused.returncode == 1 and "would exchange a whole group" in refused.stderr
    resumed = run_module("train", "resume=parts", "epochs=3", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "parts"))


def test_classes_of_a_generator_are_named_in_any_case_and_once() -> None:
    labels = Labels(["Rose", "true", "x"], torch.tensor([0, 1, 2]))
    assert labels.numbers(["ROSE", True, "X"]) == [0, 1, 2]
    with pytest.raises(ValueError, match="one is named twice"):
        labels.numbers(["rose", "Rose"])
    attributes = Labels(["Smiling", "Bald"], torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8))
    assert attributes.numbers(["-smiling", "smiling"]) == [2, 0]


def test_files_of_classes_never_have_the_same_name() -> None:
    assert file_prefixes(["[red]", "(red)", "blue"]) == ["_red__0-", "_red__1-", "blue-"]

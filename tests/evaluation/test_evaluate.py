"""The evaluate command on runs and folders, and evaluations during training."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import compose_config, every_nth, make_job, run_module
from omegaconf import OmegaConf
from PIL import Image

from gan_lab.building.trainer import build_trainer
from gan_lab.evaluate import main
from gan_lab.evaluation import compare
from gan_lab.evaluation.folders import evaluate_folders
from gan_lab.evaluation.full_reference import match_names
from gan_lab.runs.run import Run
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer, TrainingDiverged
from gan_lab.utils.image_ops import NotFinite, to_uint8


def evaluate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_module("evaluate", "device=cpu", *arguments, cwd=cwd)


Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Calls the command in this process and returns its error message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)  # Hydra would remove the handlers of pytest
    monkeypatch.setattr(logging.getLogger(), "level", logging.getLogger().level)  # restores the level that Hydra sets

    def call(*arguments: str) -> str:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.setattr("sys.argv", ["gan_lab.evaluate", "device=cpu", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, str) and end.value.code.startswith("error: ")
        return end.value.code

    return call


def scores_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())


@pytest.fixture
def run(finished: RunDirectory, tmp_path: Path) -> Path:
    """A copy of a finished run, which tests may modify."""
    shutil.copytree(finished.path, tmp_path / "run")
    return tmp_path / "run"


# -- a run ---------------------------------------------------------------------------------------------------------------


def test_evaluating_a_run_reproduces_the_scores_of_its_training(run: Path, tmp_path: Path) -> None:
    done = evaluate("run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    entries = {entry["checkpoint"]: entry["results"]["default"] for entry in scores_of(run / "scores.json")}
    summary = json.loads((run / "summary.json").read_text())
    for which, kept in (("last", summary["final"]), ("best", summary["best"])):
        if which not in entries:  # the last checkpoint may be the best
            continue
        assert entries[which]["protocol"] == kept["protocols"]["default"]
        for name, value in entries[which]["scores"].items():
            assert value == pytest.approx(kept[name], rel=1e-6), name
    assert "fd_fashion" in done.stdout and " ± " in done.stdout and "92.70%" in done.stdout


@pytest.mark.slow
def test_evaluation_with_other_metrics_and_features(run: Path, tmp_path: Path) -> None:
    few = ["evaluation.num_fakes=60", "evaluation.metrics.kernel.subset_size=20", "evaluation.metrics.sliced.images=32"]
    done = evaluate("run=run", "checkpoints=last", "evaluation=full", "evaluation.features=random", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (entry,) = scores_of(run / "scores.json")
    scores, protocol = (entry["results"]["default"][key] for key in ("scores", "protocol"))
    assert {"fd_random", "fd_random_ci95", "fd_random_infinity", "kd_random", "precision_random", "swd", "ms_ssim"} <= set(
        scores
    )
    assert protocol["fakes"] == 60 and protocol["reals"].startswith("all 64")
    with Image.open(run / "samples" / "nearest-last.png") as picture:
        assert picture.height > 8 * 32
    domain = evaluate("run=run", "checkpoints=last", "evaluation=full", "out=more.json", *few, cwd=tmp_path)
    assert domain.returncode == 0, domain.stderr
    (result,) = scores_of(tmp_path / "more.json")[0]["results"].values()
    assert {"classifier_score_fashion", "modes_fashion", "mode_kl_fashion"} <= set(result["scores"])
    assert sum(result["details"]["share of fakes by class, told by fashion"].values()) == pytest.approx(1)
    report = run_module("report", "run=run", cwd=tmp_path)
    assert report.returncode == 0 and "kd_random" in (run / "report.html").read_text()


def test_standing_statistics_do_not_affect_protocols_with_running_ones(run: Path, tmp_path: Path) -> None:
    both = "protocol=[default,stacked_mnist]"
    own = [
        "protocol.stacked_mnist.metrics=[frechet]",
        "protocol.stacked_mnist.num_fakes=32",
        "protocol.stacked_mnist.num_reals=64",
    ]
    own += ["protocol.stacked_mnist.batch_norm=standing"]
    done = evaluate("run=run", "checkpoints=last", both, *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = scores_of(run / "scores.json")[0]["results"]
    final = json.loads((run / "summary.json").read_text())["final"]
    assert results["default"]["scores"]["fd_fashion"] == pytest.approx(final["fd_fashion"], rel=1e-6)
    assert results["stacked_mnist"]["scores"]["fd_fashion"] != pytest.approx(final["fd_fashion"], rel=1e-3)
    assert results["stacked_mnist"]["protocol"]["batch_norm"] == "standing"


@pytest.mark.slow
def test_only_scores_of_equal_protocols_are_compared(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, tmp_path / "other")
    cfg = OmegaConf.create({"compare": [str(run), str(tmp_path / "other")]})
    compare(cfg)
    assert "fd_fashion" in capsys.readouterr().out
    assert evaluate("run=other", "checkpoints=last", "evaluation.num_fakes=40", cwd=tmp_path).returncode == 0
    with pytest.raises(ValueError, match="default: fakes is 32 and 40"):
        compare(cfg)
    assert run_module("train", "resume=other", "epochs=3", cwd=tmp_path).returncode == 0
    compare(cfg)  # evaluations of an earlier state are ignored
    final = RunDirectory(tmp_path / "other").read_summary()["final"]
    assert f"{final['fd_fashion']:.4g}" in capsys.readouterr().out


def change_final_scores(run: Path, **changes: Any) -> None:
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"final": summary["final"] | changes}))


def test_runs_without_a_common_protocol_are_not_compared_even_if_one_has_a_further_protocol(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    protocol = json.loads((run / "summary.json").read_text())["final"]["protocols"]["default"]
    further = {"default": protocol | {"fakes": 40}, "further": protocol}
    change_final_scores(tmp_path / "other", **{"protocols": further, "further/fd_fashion": 1.0})
    with pytest.raises(ValueError, match=r"not comparable \(default: fakes is 32 and 40\)"):
        compare(OmegaConf.create({"compare": [str(run), str(tmp_path / "other")]}))


def test_scores_of_bicubic_interpolation_are_compared(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = {"protocol": "pairs", "reals": "3 images", "scale": 4, "degradation": "bicubic"}
    more = {"protocols": {"pairs": pairs}, "psnr": 31.25, "bicubic/psnr": 28.75}
    change_final_scores(run, **more)
    shutil.copytree(run, tmp_path / "other")
    compare(OmegaConf.create({"compare": [str(run), str(tmp_path / "other")]}))
    printed = capsys.readouterr().out
    assert printed.count("31.25") == 2 and printed.count("28.75") == 1 and "further" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    every_nth(
        [
            ([], "evaluate needs run=..."),
            (["run=run", "fakes=x"], "not run and fakes at once"),
            (["run=nowhere"], "nowhere is not a run directory"),
            (["run=run", "evaluation=none"], "evaluation=none measures nothing"),
            (["run=run", "model.width=8"], "model.width: an evaluation can't change a trained run"),
            (["run=run", "protocol=[fid10k_test]"], "the splits of fashion_mnist_10k are all"),
            (
                ["run=run", "evaluation.features=random", "protocol.default.split=test"],
                "dataset.split=test: the splits of fashion_mnist_10k are all",
            ),
            (["run=run", "checkpoints=final"], "checkpoint=final: must be last, last-1"),
            (["run=run", "evaluation.batch_size=0"], "evaluation.batch_size=0: must be a whole number, at least 1"),
            (["run=run", "evaluation.seed=5.5"], "evaluation.seed=5.5: must be a whole number"),
            (["run=run", "checkpoints=[]"], "give one or several of last, best, pretrained"),
            (["run=run", "evaluation=pairs"], "evaluation=pairs compares images with their originals"),
            (["run=run", "protocol=[stacked_mnist]"], "the evaluation has none of its metrics (modes)"),
            (["run=run", "out=run"], "out=run is a folder"),
            (["compare=run"], "give two or more run directories"),
        ],
        5,
    ),
)
def test_invalid_evaluations_are_an_error_with_a_reason(
    arguments: list[str], message: str, run: Path, refusal: Refusal
) -> None:
    assert message in refusal(*arguments)
    assert not (run / "scores.json").exists()


# -- folders -------------------------------------------------------------------------------------------------------------


def write_pictures(folder: Path, count: int, seed: int, size: int = 16, channels: int = 1) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for n, image in enumerate(random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)):
        Image.fromarray(image[..., 0] if channels == 1 else image).save(folder / f"{n}.png")
    return folder


def test_folders_are_evaluated_without_a_run(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 40, 0)
    write_pictures(tmp_path / "b", 30, 1)
    done = evaluate("fakes=a", "reals=b", "out=scores.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the score is biased" in done.stdout  # 40 images against 512 features
    again = evaluate("fakes=a", "reals=b", "out=scores.json", "features.dataset_classifier.file=fashion", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    first, second = scores_of(tmp_path / "scores.json")
    protocol = first["results"]["default"]["protocol"]
    assert protocol["fakes"] == 40 and protocol["reals"] == "all 30 images of b"
    assert "fd_random" in first["results"]["default"]["scores"] and "fd_fashion" in second["results"]["default"]["scores"]
    own = [f"fakes={tmp_path}/a", f"reals={tmp_path}/a", f"out={tmp_path}/same.json"]
    evaluate_folders(compose_config("device=cpu", *own, config="evaluate"))
    (zero,) = scores_of(tmp_path / "same.json")
    assert zero["results"]["default"]["scores"]["fd_random"] == pytest.approx(0, abs=1e-6)
    assert zero["results"]["default"]["scores"]["copies_random"] == 1


def test_classes_of_folders_are_matched_by_name(tmp_path: Path) -> None:
    for side, classes in (("fakes", "aC"), ("reals", "abc")):
        (tmp_path / side).mkdir()
        for name in classes:
            write_pictures(tmp_path / side / name, 6, ord(name.lower()))  # classes of the same name have the same images
    own = ["evaluation=full", "evaluation.metrics.sliced=null"]
    done = evaluate("fakes=fakes", "reals=reals", "out=s.json", *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (entry,) = scores_of(tmp_path / "s.json")
    by_class = entry["results"]["default"]["details"]["fd_random by class"]
    assert by_class == {"a": pytest.approx(0, abs=1e-6), "c": pytest.approx(0, abs=1e-6)}


@pytest.mark.slow
def test_invalid_folders_are_an_error(tmp_path: Path, refusal: Refusal) -> None:
    write_pictures(tmp_path / "small", 4, 0)
    write_pictures(tmp_path / "large", 4, 0, size=24)
    write_pictures(tmp_path / "color", 4, 0, channels=3)
    write_pictures(tmp_path / "mixed", 4, 0)
    Image.new("L", (20, 20)).save(tmp_path / "mixed" / "other.png")
    write_pictures(tmp_path / "broken", 4, 0)
    (tmp_path / "broken" / "9.png").write_bytes((tmp_path / "broken" / "1.png").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    for fakes, message in {
        "empty": "no images found in it",
        "mixed": "mixed sizes",
        "large": "24x24 pixels in grayscale and reals=small of 16x16",
        "color": "16x16 pixels in color and reals=small of 16x16 pixels in grayscale",
        "broken": "can't be read",
        "nowhere": "no such folder or file",
    }.items():
        assert message in refusal(f"fakes={fakes}", "reals=small"), fakes
    assert "fakes=... needs reals=..." in refusal("fakes=small")
    assert "not 4 in small and 5 in more" in refusal(
        "fakes=small", f"reals={write_pictures(tmp_path / 'more', 5, 0).name}", *PAIRS
    )
    assert "0.png has 24x24" in refusal("fakes=small", "reals=large", *PAIRS)
    assert "of a folder of fakes all images are used" in refusal("fakes=small", "reals=large", "evaluation.num_fakes=3")
    assert "out=small is a folder" in refusal("fakes=small", "reals=small", "out=small")


def test_fakes_and_originals_are_matched_by_name() -> None:
    hr, sr = ["1", "10", "2"], ["10_x4", "1_x4", "2_x4"]
    assert match_names(sr, hr) == [(1, 0), (0, 1), (2, 2)] and match_names(hr, sr) == [(0, 1), (1, 0), (2, 2)]
    assert sorted(match_names(["b", "a"], ["a", "b"])) == [(0, 1), (1, 0)]
    for fakes, reals in ((["a", "b"], ["a", "c"]), (["a_x2", "b_x4"], ["a", "b"]), (["a", "a"], ["a", "b"])):
        with pytest.raises(ValueError, match="have no counterpart or several"):
            match_names(fakes, reals)


def test_16_bit_gray_images_are_compared_in_their_own_range(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for side in "ab":
        (tmp_path / side).mkdir()
        for n in range(2):
            Image.fromarray(random.integers(0, 65536, (16, 16), dtype=np.uint16)).save(tmp_path / side / f"{n}.png")
    done = evaluate("fakes=a", "reals=b", "out=pairs.json", *PAIRS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert scores_of(tmp_path / "pairs.json")[0]["results"]["pairs"]["scores"]["psnr"] < 10  # independent noise has 7.8 dB


PAIRS = ["evaluation=pairs", "evaluation.pairs.lpips=null", "evaluation.border=1"]


def test_full_reference_scores_of_folders(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 3, 0, size=20, channels=3)
    write_pictures(tmp_path / "b", 3, 1, size=20, channels=3)
    done = evaluate("fakes=a", "reals=b", "out=pairs.json", *PAIRS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (entry,) = scores_of(tmp_path / "pairs.json")
    scores, protocol = (entry["results"]["pairs"][key] for key in ("scores", "protocol"))
    assert protocol["pairs"] == 3 and protocol["metric psnr"] == "border=1" and "metric ssim" in protocol
    assert set(scores) == {"psnr", "psnr_y", "rmse_y", "ssim", "ssim_y"} and 5 < scores["psnr"] < 12
    a, b = (np.asarray(Image.open(tmp_path / side / "0.png"), float)[1:-1, 1:-1] for side in "ab")
    own = next(table for name, table in entry["results"]["pairs"]["details"].items() if name.endswith("0.png"))
    assert own["psnr"] == pytest.approx(10 * np.log10(255**2 / ((a - b) ** 2).mean()), rel=1e-6)


# -- during training -----------------------------------------------------------------------------------------------------


def trained(path: Path, *overrides: str) -> Trainer:
    trainer = build_trainer(make_job(path, *overrides))
    trainer.train()
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dcgan_small", "dcgan_cifar"])  # batch normalisation, and dropout
def test_evaluations_do_not_change_the_training(model: str, tmp_path: Path) -> None:
    own = [f"model={model}", "ema=none"]
    with_scores = trained(tmp_path / "a", *own, "evaluation.every_kimg=0.016")
    trained(tmp_path / "b", *own, "evaluation=none")
    assert len([row for row in RunDirectory(tmp_path / "a").history() if "fd_fashion" in row]) == 5
    a, b = (checkpoint.load(tmp_path / x / "checkpoints" / "last.pt") for x in "ab")
    for network in ("generator", "discriminator"):
        assert all(torch.equal(value, b[network][name]) for name, value in a[network].items())
    assert torch.equal(a["rng_states"][0]["torch"], b["rng_states"][0]["torch"])
    assert with_scores.updater.gan.generator.training and with_scores.updater.gan.discriminator.training


@pytest.mark.slow
def test_evaluations_are_skipped_when_the_time_budget_is_used_up(tmp_path: Path) -> None:
    own = ["epochs=3", "evaluation.every_kimg=0.016", "evaluation.max_time_fraction=1e-9"]
    trained(tmp_path / "run", *own)
    scored = [row["images"] for row in RunDirectory(tmp_path / "run").history() if "fd_fashion" in row]
    assert scored == [0, 192]  # the first, whose duration is unknown, and the last always take place
    with pytest.raises(ValueError, match=r"evaluation\.max_time_fraction=2"):
        build_trainer(make_job(tmp_path / "no", "evaluation.max_time_fraction=2"))


@pytest.mark.slow
def test_the_best_checkpoint_is_kept_when_the_protocol_changes(run: Path, tmp_path: Path) -> None:
    before = json.loads((run / "summary.json").read_text())["best"]
    refused = run_module("train", "resume=run", "evaluation.num_fakes=40", cwd=tmp_path)  # no epochs left
    assert refused.returncode == 1 and [path.name for path in (run / "checkpoints").glob("best*")] == ["best.pt"]
    done = run_module("train", "resume=run", "epochs=3", "evaluation.num_fakes=40", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "can't be compared with earlier ones (fakes was 32 and is 40)" in done.stdout
    kept = checkpoint.load(run / "checkpoints" / f"best-{before['images']}.pt")
    assert kept["images"] == before["images"] and kept["evaluator"]["best"]["fd_fashion"] == before["fd_fashion"]
    assert json.loads((run / "summary.json").read_text())["best"]["images"] > 128


def test_the_features_that_auto_selects_are_stored_in_the_run(run: Path) -> None:
    assert "features: dataset_classifier" in (run / "config.yaml").read_text()


def test_evaluating_a_run_of_an_earlier_version_is_an_error(run: Path, refusal: Refusal) -> None:
    config = run / "config.yaml"
    config.write_text("\n".join(line for line in config.read_text().splitlines() if not line.startswith("version:")))
    assert "run was trained by gan_lab 0.1, whose keys and checkpoints version 0.2.0 can't read" in refusal("run=run")


def test_standing_statistics_during_training_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"protocol\.default\.batch_norm: training"):
        build_trainer(make_job(tmp_path / "no", "protocol.default.batch_norm=standing"))


def test_non_finite_images_end_the_run_as_diverged(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path / "run", "ema=none"))
    with torch.no_grad():
        next(trainer.updater.gan.generator.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="not finite: it has diverged"):
        trainer.train()
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "diverged"
    with pytest.raises(NotFinite):
        to_uint8(torch.tensor([float("inf")]))


def test_intra_class_distances_of_a_conditional_generator(tmp_path: Path) -> None:
    own = ["conditioning=concatenation", "evaluation=full", "evaluation.num_fakes=64", "dataset.limit=200"]
    own += ["evaluation.metrics.kernel.subset_size=20", "evaluation.metrics.sliced=null", "evaluation.metrics.diversity=null"]
    trained(tmp_path / "run", *own)
    final = RunDirectory(tmp_path / "run").read_summary()["final"]
    assert final["intra_fd_fashion"] > 0


def test_a_run_samples_uint8_images_for_evaluation(run: Path) -> None:
    images, labels = Run.open(run).sample_for_evaluation(5, torch.Generator().manual_seed(0))
    assert images.shape == (5, 1, 32, 32) and images.dtype == torch.uint8 and labels is None

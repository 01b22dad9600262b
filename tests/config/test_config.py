"""Every option of every group composes and becomes what it says; what is wrong is said."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import SMALL, compose_config, every_nth, make_job
from hydra import compose
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gan_lab.building.trainer import build_trainer
from gan_lab.config import CONF_DIR
from gan_lab.config.hydra_versions import initialize
from gan_lab.config.path_arguments import quote_paths
from gan_lab.config.scheduled_values import find_scheduled_arguments
from gan_lab.config.schema import Config, check
from gan_lab.runtime.device import choose_device
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.trainer import Trainer

OPTIONS = sorted(
    f"{folder.name}={file.stem}"
    for folder in CONF_DIR.iterdir()
    if folder.is_dir() and folder.name not in ("hydra", "wandb")
    for file in folder.glob("*.yaml")
)
WITHOUT_FILES = {"dataset=fashion_mnist_10k", "dataset=folder"}
ELSEWHERE = ("experiment", "debug", "sweep", "benchmark", "dataset", "features", "protocol", "tracker=wandb")
BUILT_ELSEWHERE = {o for o in OPTIONS if o.startswith(ELSEWHERE)} - WITHOUT_FILES
"""Datasets are read from made files in test_sources, feature networks and protocols built in test_feature_networks and
test_protocols, benchmarks and sweeps run in test_commands, Weights & Biases in test_tracking."""
UPSCALER = "perception=random model.blocks=1 degradation.patch=16 evaluation.pairs.perceptual=null epochs=0.0625"
OF_SUPER_RESOLUTION = ("degradation=b", "evaluation=pairs", "loss=srgan", "loss=esrgan", "loss=real", "pretraining=pixels")
SUPER_RESOLUTION = {
    **{option: UPSCALER for option in OPTIONS if option.startswith(("model=srgan", "model=esrgan"))},
    **{option: f"model=srgan {UPSCALER}" for option in OPTIONS if option.startswith(OF_SUPER_RESOLUTION)},
    **{f"degradation={step}": f"model=srgan degradation=[bicubic,{step}] {UPSCALER}" for step in ("noise", "jpeg")},
    **{
        f"loss={term}": f"model=srgan loss=[bce,{term}] {UPSCALER}"
        for term in ("pixel", "pixel_l2", "charbonnier", "perceptual")
    },
}
"""What goes with options that are about pictures instead of latents."""
BESIDE_OTHERS = {"loss=feature_matching": "loss=[bce,feature_matching]"}
SMALLER = {
    "model=fastgan_projected": "model.width=16 model.discriminator.width=8 model.discriminator.resize=64",
    "model=fastgan_projected_small": "model.discriminator.resize=64",
    "discriminator=projected": "discriminator.width=8 discriminator.resize=64",
}
"""What goes with options whose images are enlarged."""
NEEDS_ANOTHER_RUN = {"initial_weights=run"}
NEEDS_CUDA = {"precision=tf32"}


def build(path: Path, *overrides: str) -> Trainer:
    return build_trainer(make_job(path, *overrides))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    from PIL import Image

    for n in range(64):
        Image.new("RGB", (40, 36), (n, 2 * n, 255 - n)).save(tmp_path / f"{n}.png")
    return tmp_path


def of_group(name: str) -> list[str]:
    return [option for option in OPTIONS if option.startswith(f"{name}=")]


def compose_option(*options: str) -> None:
    benchmark = options[0].startswith("benchmark=")
    extra = ["dataset.path=somewhere"] if {"dataset=folder", "dataset=huggingface"} & set(options) else []
    cfg = compose_config(*options, *extra, config="benchmark" if benchmark else "config")
    if not benchmark:
        check(cfg)


WHOLE = ("experiment", "benchmark")
"""Groups whose options set those of other groups."""
GROUPS = list(dict.fromkeys(option.partition("=")[0] for option in OPTIONS))
TOGETHER = [
    *(tuple(filter(None, row)) for row in itertools.zip_longest(*(of_group(name) for name in GROUPS if name not in WHOLE))),
    *((option,) for name in WHOLE for option in of_group(name)),
]
"""Every option, with one of each other group: a composition takes as long for one as for twenty."""


@pytest.mark.parametrize(
    "options",
    [pytest.param(o, marks=[] if len(o) > 1 or n % 3 == 0 else pytest.mark.slow) for n, o in enumerate(TOGETHER)],
    ids=" ".join,
)
def test_every_option_composes(options: tuple[str, ...]) -> None:
    try:
        compose_option(*options)
    except Exception:
        for option in options:
            try:
                compose_option(option)
            except Exception as error:
                error.add_note(f"It is {option} that does not compose.")
                raise
        raise


@pytest.mark.slow
@pytest.mark.parametrize("option", [option for options in TOGETHER if len(options) > 1 for option in options])
def test_every_option_composes_alone(option: str) -> None:
    compose_option(option)


TRAINED_ELSEWHERE = (
    "augment",
    "degradation",
    "ema",
    "evaluation",
    "health",
    "initial_weights",
    "perception",
    "pruner",
    "tracker",
)
"""Groups whose options the tests of their own files train, too."""
TRAINED = [
    option if name not in TRAINED_ELSEWHERE else pytest.param(*getattr(option, "values", (option,)), marks=pytest.mark.slow)
    for name in GROUPS
    for option in every_nth(reversed([o for o in of_group(name) if o not in BUILT_ELSEWHERE]), 15)
]
"""By default every fifteenth option of the other groups, and at least one of each."""


@pytest.mark.parametrize("option", TRAINED)
def test_every_option_becomes_an_object_that_trains(
    option: str, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if option in NEEDS_CUDA:
        with pytest.raises(ValueError, match="needs an NVIDIA GPU"):
            build(pictures, option)
        return
    path = tmp_path_factory.mktemp("run")
    if option in NEEDS_ANOTHER_RUN:
        with pytest.raises(ValueError, match="needs a run"):
            build(path, option)
        return
    more = {"dataset=folder": f"dataset.path={pictures}", **SUPER_RESOLUTION, **BESIDE_OTHERS, **SMALLER}
    without_scores = "" if option.startswith("evaluation=") else " evaluation=none"
    trainer = build(path, option, *more.get(option, "n_critic=1" + without_scores).split())
    assert trainer.train()["status"] == "finished"
    rows = trainer.records.directory.history()
    assert all(rows[-1].get(name) is not None or rows[-2].get(name) is not None for name in ("d/loss", "g/loss", "g/fool_rate"))


LOSSES, MODELS, PRECISIONS = (
    ("bce", "minimax", "hinge", "lsgan", "wasserstein"),
    ("dcgan", "dcgan_cifar"),
    ("fp32", "bf16", "fp16"),
)


@pytest.mark.parametrize(
    ("loss", "model", "precision"),
    every_nth(itertools.product(LOSSES, MODELS, PRECISIONS), 7),  # every value; test_combinations has every pair
)
def test_models_losses_and_precisions_combine(loss: str, model: str, precision: str, tmp_path: Path) -> None:
    trainer = build(tmp_path, f"loss={loss}", f"model={model}", f"precision={precision}", "dataset.channels=3")
    for batch, _ in zip(trainer.loader.batches(), range(2), strict=False):
        trainer.step(batch)
    figures = trainer.updater.averager.read(SingleProcess())
    assert {"d/loss", "g/loss", f"d/{loss}", f"g/{loss}", "d/accuracy_real", "d/accuracy_fake"} <= set(figures)
    skipped = {
        name.removesuffix("skipped_steps") for name, value in figures.items() if name.endswith("skipped_steps") and value
    }
    finite = {name: value for name, value in figures.items() if name.removesuffix("gradient_norm") not in skipped}
    assert all(value == value and abs(value) < 1e6 for value in finite.values()), figures


def test_what_tests_compose_is_what_hydra_composes() -> None:
    overrides = [
        *(*SMALL, "model=progan", "optimizer.lr=1e-3", "penalty=[r1,drift]", "+penalty.discriminator.r1.more={a: 1}"),
        *("~model.growth.grown_at", "model.growth.lr_factors=[]", "+schedule.of.optimizer.lr={to: 0}"),
    ]
    with initialize():
        expected = compose("config", overrides=overrides)
    find_scheduled_arguments(expected)
    OmegaConf.resolve(expected)
    assert compose_config(*overrides) == expected


def test_every_top_level_key_has_a_type_and_a_value() -> None:
    given = set(yaml.safe_load((CONF_DIR / "config.yaml").read_text())) - {"defaults", "hydra"}
    groups = {next(iter(d)) for d in yaml.safe_load((CONF_DIR / "config.yaml").read_text())["defaults"] if isinstance(d, dict)}
    assert given | groups - {"experiment", "sweep", "debug"} >= set(Config.__dataclass_fields__)
    assert OmegaConf.missing_keys(compose_config()) == set()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=stylegan9", "Could not find 'model/stylegan9'.*dcgan"),
        ("bath_size=8", "Key 'bath_size' not in 'Config'"),
        ("model.widht=8", "Key 'widht' is not in struct"),
        ("batch_size=many", "Value 'many'.*could not be converted to Integer"),
        ("epochs=soon", "Value 'soon'.*could not be converted to Float"),
    ],
)
def test_what_can_not_be_composed_is_named(override: str, message: str) -> None:
    with pytest.raises(HydraException) as caught:
        compose_config(override)
    import re

    assert re.search(message, f"{caught.value} {caught.value.__cause__}", re.DOTALL)


@pytest.mark.parametrize(
    ("override", "message"),
    every_nth(
        [
            ("batch_size=65", "batch_size=65 is larger than the dataset, which has 64 images"),
            ("dataset.size=33", "size=33: this family builds .*32"),
            ("model.width=wide", "model.generator.width=wide: must be int"),
            ("model.width=1.5", "model.generator.width=1.5: must be int"),
            ("optimizer.lr=fast", "optimizer.discriminator.lr=fast: must be float"),
            ("optimizer.betas=[0.5]", r"optimizer.discriminator.betas=\[0.5\]: must be tuple"),
            ("optimizer.lr=-1", "Invalid learning rate"),
            ("+model.generator.depth=3", "model.generator.depth: gan_lab.models.dcgan.Generator takes size, channels, width"),
            ("~model.generator.size", "model.generator: gan_lab.models.dcgan.Generator needs size"),
            ("model.generator._target_=os.system", r"targets are classes of gan_lab"),
            ("model.generator._target_=gan_lab.models.dcgan.Generatr", "no such object"),
            ("precision=tf32", "precision=tf32 needs an NVIDIA GPU"),
            ("device=cuda", "device=cuda: this machine, or this build of PyTorch, has no CUDA"),
            ("device=tpu", "device=tpu: must be auto, cpu, cuda"),
            ("dataset=folder dataset.path=/nowhere/at/all", "there is no such folder"),
            (
                "evaluation.features=inceptoin",
                "evaluation.features=inceptoin: must be auto or one of inception, dataset_classifier, random",
            ),
            ("features=[vgg16]", "evaluation.features=auto: none of vgg16 is available"),
            ("protocol.default.num_fakes=1", "num_fakes=1: must be at least 2, for a covariance"),
            ("evaluation.metrics.frechet.bootstrap=1", "bootstrap=1"),
            ("evaluation.metrics.prdc.nearest_k=0", "nearest_k=0"),
            ("console=loud", "console=loud: must be one of auto, live, plain"),
            ("tracker=wandb tracker.wandb.mode=sometimes", "must be one of offline, online, disabled"),
            ("schedule=linear schedule.end=-1", "end=-1"),
            ("~loss.generator.hinge", "loss.generator: no term is computed in every step"),
            (
                "+loss.generator.hinge.interval=2",
                "loss.generator.hinge.interval: gan_lab.losses.adversarial.WassersteinGeneratorLoss takes weight",
            ),
            ("model.latents._target_=gan_lab.runtime.device.os.system", "belongs to"),
            ("ema.kimg=0", "must be positive"),
            (
                "loss=feature_matching",
                r"loss.discriminator: no term is computed in every step \(interval=1\); add an adversarial loss",
            ),
            ("model=progan dataset.size=36", "size=36: this family builds 8, 10, 12, 14, 16, 20, .*1024 pixels"),
            ("model=progan model.growth.fade_kimg=1", "model.growth: give both fade_kimg and stable_kimg, or neither"),
            ("model=sngan model.discriminator.halvings=9", "halvings=9, plain_blocks=2: 32 pixels can be halved 1 to 4 times"),
            ("augment=diffaugment augment.diffaugment.policy=[colour]", "colour"),
            (
                "experiment=progan_mnist model=dcgan dataset=fashion_mnist_10k +model.growth.max_batch_size=8",
                "this model does not grow",
            ),
            ("model=progan penalty=weight_clipping", "use penalty=gradient_penalty or a limit of about 0.8"),
            ("penalty=r1 penalty.interval=0", "interval=0: a term is computed every 1 or more steps"),
            ("model.norm=group", "norm=group: must be one of batch, layer, instance, none"),
        ],
        2,
    ),
)
def test_what_can_not_be_built_is_named(override: str, message: str, tmp_path: Path) -> None:
    if "device=cuda" in override:
        import torch

        if torch.cuda.is_available():
            assert choose_device("cuda").type == "cuda"
            return
    with pytest.raises(ValueError, match=message):
        build(tmp_path, *override.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=0", "batch_size=0: must be a whole number, at least 1 and"),
        ("n_critic=0", "n_critic=0"),
        ("gradient_accumulation_steps=3", "gradient_accumulation_steps=3: must divide batch_size=16"),
        ("max_seconds=0", "max_seconds=0.0: must be a number, above 0"),
        ("epochs=-1", "epochs=-1.0: must be a number, at least 0 and"),
        ("max_grad_norm=0", "max_grad_norm=0.0: must be a number, at least 1e-12"),
        ("sample.every_kimg=0", "sample.every_kimg=0.0: must be a number, at least 1e-06"),
        ("memory_format=sideways", "memory_format=sideways: must be one of auto, channels_last, contiguous"),
        ("resume_from=first", "resume_from=first: must be last, last-1"),
        ("checkpoint.keep=0", "checkpoint.keep=0: must be a whole number, at least 1"),
        ("checkpoint.keep_every_kimg=0", "must be a number, at least 1e-06 .*, or null"),
        ("epochs=inf", "epochs=inf: must be a number, at least 0"),
        ("max_grad_norm=nan", "max_grad_norm=nan"),
        ("seed=-1", "seed=-1: must be a whole number, at least 0 and at most 4,294,967,295"),
        ("sample.scale=0", "sample.scale=0: must be a whole number, at least 1"),
        ("data_memory_fraction=1.5", "data_memory_fraction=1.5: must be a number, at least 0 and at most 1; 0 never keeps"),
        ("data_memory_fraction=-0.1", "data_memory_fraction=-0.1: must be a number, at least 0"),
        ("data_memory_fraction=nan", "data_memory_fraction=nan"),
    ],
)
def test_what_does_not_fit_together_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(compose_config(*SMALL, override))


def test_one_players_optimizer_can_differ(tmp_path: Path) -> None:
    trainer = build(tmp_path, "optimizer=rmsprop", "optimizer.lr=3e-4", "optimizer.generator.lr=7e-5")
    rates = {phase.name: phase.optimizer.param_groups[0]["lr"] for phase in trainer.updater.phases}
    assert rates == {"d": 3e-4, "g": 7e-5}


def test_a_tilde_is_the_home_folder_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for home in ("/home/ann", "/home/ann b's (old), new"):
        monkeypatch.setenv("HOME", home)
        cfg = compose_config(*quote_paths(["dataset=folder", "dataset.path=~/pictures/cats", "dataset.size=64"]))
        assert cfg.dataset.path == f"{home}/pictures/cats" and cfg.dataset.size == 64


def test_help_and_cfg_answer_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['train', *sys.argv[1:]]\n"
        "try: runpy.run_module('gan_lab.train', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    for flags, expected in ((["--help"], "dataset         celeba, cifar10, cifar100"), (["--cfg", "job"], "batch_size:")):
        done = subprocess.run([sys.executable, "-c", code, *flags], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert list(tmp_path.iterdir()) == []


EXPERIMENTS = sorted(file.stem for file in (CONF_DIR / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", every_nth(EXPERIMENTS, 8))
def test_debug_makes_every_experiment_small(experiment: str) -> None:
    cfg = compose_config(f"experiment={experiment}", "debug=tiny")
    assert cfg.kimg is None and cfg.epochs == 2 and cfg.dataset.limit == 256 and cfg.evaluation.every_kimg is None
    small = compose_config(f"experiment={experiment}", "debug=small")
    whole = compose_config(f"experiment={experiment}")
    assert small.max_kimg == 500 and small.dataset.size == 32 and small.dataset.limit == 10000
    assert (small.epochs, small.kimg, small.batch_size) == (whole.epochs, whole.kimg, whole.batch_size), (
        "what is compared stays"
    )


def test_a_training_is_never_longer_than_max_kimg(tmp_path: Path) -> None:
    assert build(tmp_path / "a", "epochs=100", "max_kimg=0.128").progress.total_images == 128
    assert build(tmp_path / "b", "epochs=1", "max_kimg=0.128").progress.total_images == 64


def test_the_celebrity_experiments_change_one_thing_each() -> None:
    def leaves(node: object, prefix: str = "") -> dict[str, object]:
        if isinstance(node, dict) and node:
            return {k: v for key, value in node.items() for k, v in leaves(value, f"{prefix}.{key}").items()}
        return {prefix: node}

    def differences(name: str) -> set[str]:
        one, other = (leaves(OmegaConf.to_container(compose_config(f"experiment={e}"))) for e in ("celeba_baseline", name))
        return {key.lstrip(".") for key in one.keys() | other.keys() if one.get(key) != other.get(key)}

    assert differences("celeba_50_epochs") == {"epochs"}
    assert differences("celeba_batch16") == {"batch_size"}
    assert {key.partition(".")[0] for key in differences("celeba_rmsprop")} == {"optimizer"}
    assert {key.partition(".")[0] for key in differences("celeba_int16")} == {"precision"}
    rmsprop = compose_config("experiment=celeba_rmsprop").optimizer
    assert rmsprop.generator._target_ == "torch.optim.RMSprop" and rmsprop.generator.lr == rmsprop.discriminator.lr == 1e-4


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=progan"], ("wasserstein", "gradient_penalty drift", 1e-3, 1)),
        (["model=progan", "loss=hinge", "penalty=none"], ("hinge", "", 1e-3, 1)),
        (["model=sngan"], ("hinge", "", 2e-4, 5)),
        (["model=sngan", "n_critic=2", "optimizer=rmsprop"], ("hinge", "", None, 2)),
        (["model=sagan", "optimizer.lr=3e-4"], ("hinge", "", 3e-4, 1)),
        (["model=wgan_gp", "penalty=r1"], ("wasserstein", "r1", 2e-4, 5)),
        (["model=stylegan2"], ("bce", "r1", 2.5e-3, 1)),
        (["experiment=hinge_cifar100", "model=progan"], ("hinge", "gradient_penalty drift", 1e-3, 1)),
    ],
)
def test_a_family_brings_its_recipe_and_the_command_line_wins(
    overrides: list[str], expected: tuple[str, str, float | None, int]
) -> None:
    cfg = compose_config(*overrides)
    loss, penalty, rate, n_critic = expected
    assert list(cfg.loss.discriminator) == [loss] and " ".join(cfg.penalty.discriminator) == penalty
    assert cfg.n_critic == n_critic and (rate is None or cfg.optimizer.generator.lr == rate)
    if overrides[0] == "model=stylegan2":
        assert list(cfg.penalty.generator) == ["path_length"] and not cfg.reuse_fakes
        assert cfg.penalty.gamma == pytest.approx(2e-4 * 32**2 / 32) and cfg.penalty.interval == 16
    if overrides[0] == "model=sagan":
        assert cfg.optimizer.discriminator.lr == pytest.approx(4 * 3e-4)


def test_the_cifar100_study_has_a_grid_and_a_checkpoint_in_every_epoch() -> None:
    """However short the epochs are: neither has a time limit, which the default has."""
    study, default = compose_config("experiment=hinge_cifar100"), compose_config()
    for section in ("sample", "checkpoint"):
        assert study[section].every_kimg is None and study[section].max_time_fraction is None
        assert default[section].max_time_fraction is not None

"""Readers of files and texts: whatever they get, they return a result or raise the one error that they document."""

from __future__ import annotations

import io
import json
import pickle
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gan_lab.config.path_arguments import quote_paths, typed_text
from gan_lab.config.stored_config import read_config
from gan_lab.data.datasets.celeba import CelebA
from gan_lab.data.datasets.cifar import read_pickle
from gan_lab.data.datasets.folder import Folder, load_whole_images
from gan_lab.data.idx_format import read_idx
from gan_lab.data.labels import listed_labels, number_classes
from gan_lab.data.packed_file import PackedDataset
from gan_lab.data.packing import PackingProgress
from gan_lab.models.draws import parse_seeds
from gan_lab.models.published import find_networks
from gan_lab.reporting.run_records import read_study, split_overrides
from gan_lab.sampling.plane import parse_point
from gan_lab.storage import checkpoint
from gan_lab.storage.json_records import parse_json
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.storage.run_lock import OWNER, Owner
from gan_lab.storage.safe_load import load_tensors
from gan_lab.storage.weights_file import read_weights
from gan_lab.utils.formatting import printable
from gan_lab.utils.suggestions import index_of_name

FEW, MANY = 15, 500
"""Examples of a reader in the default tests, and in the slow ones."""

HOSTILE = [
    *("../../x", "/etc/passwd", "a\nb", "\x1b[31m", "<script>", "${oc.env:HOME}", "9" * 5000, "0-99999999999", "\0", "\ud800"),
    *("[" * 5000, "'" * 99, "1e999,nan", "\u0665-\u0669", "a|1", "nan|1", "1_0", ",,", "-", "~0"),
]
"""Texts that were chosen by hand."""

SHARED: dict[str, Any] = {"name": "fuzzed", "root": "data", "size": 8, "channels": 3, "num_workers": 1}


def budget(examples: int) -> Callable[[Any], Any]:
    """The same examples in every run, without time limits."""
    checks = [
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ]
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=checks)


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        name: of the file.
        valid: makes the content of a valid one.
        read: reads the file.
        errors: what it may raise.
    """

    name: str
    valid: Callable[[], bytes]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = (ValueError,)


def picture(kind: str, mode: str = "RGB", **more: Any) -> bytes:
    buffer = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(buffer, format=kind, **more)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("top/a/1.png", "top/a/2.png", "top/b/3.png"):
            file.writestr(name, picture("PNG"))
        file.writestr("top/dataset.json", labels_file())
    return buffer.getvalue()


def labels_file() -> bytes:
    return json.dumps({"labels": [["a/1.png", 0], ["a/2.png", 1], ["b/3.png", 1]]}).encode()


def saved(save: Callable[..., object], *arguments: object, **more: object) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arguments, **more)
    return buffer.getvalue()


def idx() -> bytes:
    return struct.pack(">I3I", 2051, 2, 3, 3) + bytes(range(18))


def cifar() -> bytes:
    return pickle.dumps({"data": np.zeros((2, 12), np.uint8), "labels": [0, 1]}, protocol=2)


def checkpoint_file() -> bytes:
    state = {"format": checkpoint.FORMAT, "images": 64, "generator_ema": {"body.0.weight": torch.ones(3, 2)}, "labels": {}}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def safetensors_file() -> bytes:
    metadata = {"format": "gan_lab generator", "images": "64", "classes": "[]", "other_state": '{"a": 1}'}
    return safetensors.torch.save({"layer.weight": torch.ones(2, 2), "labels.table": torch.eye(2)}, metadata)


def packed() -> bytes:
    manifest = {"count": 2, "size": 2, "channels": 1, "labels": {"dtype": "<i8", "shape": [2]}, "sizes": None, "classes": []}
    text = json.dumps(manifest).encode()
    return bytes(8) + np.array([0, 1]).tobytes() + text + struct.pack("<Q8s", len(text), b"GANPACK1")


def summary() -> bytes:
    final = {"fd": 1.5, "fd_ci95": 0.1, "images": 64, "protocols": {"default": {"fakes": 64}}}
    alarms = [{"alarm": "collapse", "text": "it collapsed", "images": 3, "over": None}]
    return json.dumps(
        {"status": "finished", "name": "a", "images": 64, "epochs": 1.0, "final": final, "alarms": alarms}
    ).encode()


def evaluations() -> bytes:
    return json.dumps([{"time": "", "images": 1, "results": {"default": {"protocol": {}, "scores": {"fd": 1.0}}}}]).encode()


def study() -> bytes:
    figures = {"run": "a", "name": "lr=1", "seed": 0, "trial": 0, "status": "finished", "score_name": "fd", "protocols": {}}
    trial = {"number": 0, "state": "complete", "params": {"lr": 1}, "values": [1.0], "figures": [{**figures, "device": "cpu"}]}
    return json.dumps({"objective": ["score"], "has_default": False, "trials": [trial], "importance": {}}).encode()


def rows() -> bytes:
    return b'{"images": 1, "epoch": 0.5, "d/loss": 1.5}\n' * 3


def config() -> bytes:
    return b"version: 0.2.0\nchoices: {model: dcgan}\noverrides: ['optimizer.lr=0.1']\nmodel: {width: 4}\nseed: 0\n"


def attributes() -> bytes:
    return b"2\nBald Smiling\n000001.jpg 1 -1\n000002.jpg -1 1\n"


def read_images(path: Path) -> None:
    images = Folder(path=str(path), resize_mode="pad", **SHARED).raw_images()
    images.check_labels()
    for index in range(min(len(images), 5)):
        images.name(index)


def read_labels(path: Path) -> None:
    listed_labels(["a/1.png", "a/2.png", "b/3.png"], path.read_bytes(), ["a"], "dataset.path=x")


def read_network(path: Path) -> None:
    contents = load_tensors(path, "no file of weights")
    if isinstance(contents, dict):
        find_networks(contents)


def read_folder(path: Path) -> None:
    load_whole_images("input", str(path.parent), 3)


def read_celeba(path: Path) -> None:
    reader = CelebA(**{**SHARED, "resize_mode": "pad"})
    (reader._read_attributes if b"Bald" in path.read_bytes() else reader._read_partition)(path)


PICTURES = [("png", "RGB"), ("png", "P"), ("jpeg", "RGB"), ("gif", "P"), ("tiff", "L"), ("webp", "RGB"), ("bmp", "RGB")]

READERS = {
    "zip": Reader("images.zip", archive, lambda path: load_whole_images("input", str(path), 3)),
    "npy": Reader("images.npy", lambda: saved(np.save, np.zeros((2, 4, 4), np.uint8)), read_images),
    "npz": Reader(
        "images.npz",
        lambda: saved(np.savez, images=np.zeros((2, 4, 4), np.uint8), labels=np.array(["a", "b"])),
        read_images,
    ),
    "dataset.json": Reader("dataset.json", labels_file, read_labels),
    "idx": Reader("images-idx3-ubyte", idx, read_idx),
    "cifar": Reader("data_batch_1", cifar, lambda path: read_pickle(path.read_bytes(), "data_batch_1")),
    "attributes": Reader("list.txt", attributes, read_celeba),
    "partition": Reader("list.txt", lambda: b"1.jpg 0\n2.jpg 2\n", read_celeba),
    **{f"{kind} {mode}": Reader(f"0.{kind}", partial(picture, kind, mode), read_folder) for kind, mode in PICTURES},
    "packed file": Reader("data.pack", packed, PackedDataset.open),
    "packing": Reader("a.json", lambda: b'{"same": "a", "bad": {}}', lambda path: PackingProgress.read(path, "a"), ()),
    "checkpoint": Reader("last.pt", checkpoint_file, checkpoint.load),
    "weights": Reader("weights.pt", checkpoint_file, read_network),
    "safetensors": Reader("model.safetensors", safetensors_file, read_weights),
    "config.yaml": Reader("config.yaml", config, lambda path: read_config(RunDirectory(path.parent))),
    "metrics": Reader(
        "metrics.jsonl", lambda: b'{"images": 1, "d/loss": 1.5}\n' * 3, lambda p: RunDirectory(p.parent).history(), ()
    ),
    "summary.json": Reader("summary.json", summary, lambda path: RunDirectory(path.parent).read_summary()),
    "scores.json": Reader("scores.json", evaluations, lambda path: RunDirectory(path.parent).evaluations()),
    "study.json": Reader("study.json", study, lambda path: read_study(path.parent)),
    "owner": Reader(OWNER, lambda: b'{"host": "a", "pid": 1, "since": ""}', Owner.read, ()),
}


@cache
def valid(name: str) -> bytes:
    return READERS[name].valid()


PIECES = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"[" * 5000, b"1e999", b"../", b"null", b"-1", b"{}"]
"""Pieces that are more likely to matter than random ones."""


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with up to four changes: bytes replaced, inserted, removed or repeated, and the end cut off."""
    places = st.integers(0, len(content))
    pieces = st.one_of(st.binary(max_size=8), st.sampled_from(PIECES))
    changes = st.lists(
        st.tuples(st.sampled_from(["replace", "insert", "remove", "repeat", "cut"]), places, pieces), min_size=1, max_size=4
    )
    return st.builds(lambda found: _changed(content, found), changes)


def _changed(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for what, place, piece in changes:
        before, after = content[:place], content[place:]
        content = {
            "replace": before + piece + after[len(piece) :],
            "insert": before + piece + after,
            "remove": before + after[len(piece) :],
            "repeat": before + before[-20:] + after,
            "cut": before,
        }[what]
    return content


def check_reader(name: str, content: bytes, folder: Path) -> None:
    reader = READERS[name]
    path = folder / reader.name
    path.write_bytes(content)
    before = sorted(folder.rglob("*"))
    try:
        reader.read(path)
    except reader.errors as error:
        assert str(error), "an error says something"
    assert sorted(folder.rglob("*")) == before, "nothing else is written"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which a file is read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", READERS)
def test_a_valid_file_is_read(name: str, folder: Path) -> None:
    reader = READERS[name]
    (folder / reader.name).write_bytes(valid(name))
    reader.read(folder / reader.name)


@pytest.mark.parametrize("name", READERS)
@budget(FEW)
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(name: str, folder: Path, data: st.DataObject) -> None:
    check_reader(name, data.draw(st.one_of(mutated(valid(name)), st.binary(max_size=200))), folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@budget(MANY)
@given(data=st.data())
def test_many_changed_files_are_read_or_refused(name: str, folder: Path, data: st.DataObject) -> None:
    check_reader(name, data.draw(st.one_of(mutated(valid(name)), st.binary(max_size=200))), folder)


# Texts


@dataclass(frozen=True)
class Parser:
    """A function of a text, texts that it accepts, and what it may raise."""

    parse: Callable[[str], object]
    accepted: list[str]
    errors: tuple[type[Exception], ...] = (ValueError,)


def parse_argument(text: str) -> None:
    (quoted,) = quote_paths([f"run={text}"])
    typed_text(quoted.partition("=")[2])


PARSERS = {
    "seeds": Parser(parse_seeds, ["0-3,100", "7"]),
    "at": Parser(parse_point, ["0.25,0.5", "[1,0]"]),
    "a path": Parser(parse_argument, ["outputs/a b", "'a,b'"]),
    "a list of paths": Parser(lambda text: quote_paths([f"compare=[{text}]"]), ["a,b", "'a,b',c"]),
    "json": Parser(parse_json, ["[1, 2]", '{"a": null}']),
    "the name of a run": Parser(split_overrides, ["lr=1,b=[1,2]"], ()),
    "the name of a class": Parser(lambda text: index_of_name(text, ["Cat", "cat", "Dog"], "classes"), ["dog"]),
    "labels": Parser(lambda text: number_classes(text.split("|"), "labels"), ["0|1|-1", "a|b"]),
}


def check_parser(name: str, text: str) -> None:
    parser = PARSERS[name]
    try:
        parser.parse(text)
    except parser.errors as error:
        assert str(error), "an error says something"


def texts(name: str) -> st.SearchStrategy[str]:
    """Texts of any characters, hostile ones, and combinations of the letters of accepted ones."""
    return st.one_of(st.text(max_size=40), st.sampled_from(HOSTILE), st.text("".join(PARSERS[name].accepted), max_size=20))


@pytest.mark.parametrize("name", PARSERS)
def test_a_valid_text_is_parsed(name: str) -> None:
    for text in PARSERS[name].accepted:
        PARSERS[name].parse(text)


@pytest.mark.parametrize("name", PARSERS)
@budget(FEW)
@given(data=st.data())
def test_any_text_is_parsed_or_refused(name: str, data: st.DataObject) -> None:
    check_parser(name, data.draw(texts(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
@budget(MANY)
@given(data=st.data())
def test_many_texts_are_parsed_or_refused(name: str, data: st.DataObject) -> None:
    check_parser(name, data.draw(texts(name)))


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_texts_are_parsed_or_refused(name: str, text: str) -> None:
    check_parser(name, text)


@budget(FEW)
@given(text=st.text())
def test_a_printable_name_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1 and not any(unicodedata.category(character) == "Cc" for character in shown)


NAMES = [
    *("G_ema", "D", "params_ema", "state_dict", "conv_first.weight", "conv_body.0.weight", "body.0.weight", "upconv1.weight"),
    *("mapping.w_avg", "synthesis.b4.const", "synthesis.b8.conv0.weight", "init.init.0.weight_orig", "feat_4.1.weight_orig"),
    *("block1.c1.weight", "l1.weight", "scale_layers.0.0.module.weight", "MainLayers.0.0.weight", "Model.Layers.0.Blocks.0"),
]
"""Names of tensors that the published families, or parts of their names."""

TENSORS = st.one_of(
    st.lists(st.integers(0, 3), max_size=4).map(torch.zeros), st.sampled_from([None, 1, "text", [], {}]), st.just({"a": 1})
)


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_published_weights_are_recognized_or_refused_whatever_a_file_holds(examples: int) -> None:
    keys = st.one_of(st.sampled_from(NAMES), st.text(max_size=10), st.integers(0, 3))

    @budget(examples)
    @given(contents=st.dictionaries(keys, st.one_of(TENSORS, st.dictionaries(keys, TENSORS, max_size=6)), max_size=6))
    def check(contents: dict[Any, Any]) -> None:
        try:
            find_networks(contents)
        except ValueError as error:
            assert str(error)

    check()

"""CIFAR from the archive and the extracted directory; pickles that are damaged or malicious."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import Malicious, write_cifar

from gan_lab.data.datasets.cifar import KINDS, Cifar
from gan_lab.storage.downloads import file_digest


@pytest.mark.parametrize("kind", ["CIFAR10", "CIFAR100"])
def test_cifar_is_read_in_its_published_format(shared: dict[str, Any], kind: str) -> None:
    rows = write_cifar(Path(shared["root"]), kind)
    data = Cifar(kind=kind, **{**shared, "channels": 3, "split": "test"}).load()
    assert np.array_equal(data.pixels, rows.reshape(10, 3, 32, 32).transpose(0, 2, 3, 1))
    assert data.classes[9] == "class 9" and data.labels is not None and data.labels[9] == 9
    train = Cifar(kind=kind, **{**shared, "channels": 3, "split": "train", "classes": ["class 3"]}).load()
    assert len(train) == len(KINDS[kind].train) and train.classes == ("class 3",)


def test_cifar_is_read_from_the_archive(shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shared["root"])
    write_cifar(root / "unpacked", "CIFAR100")
    archive = root / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "unpacked" / "cifar-100-python", "cifar-100-python")
    with pytest.raises(ValueError, match=r"cifar-100-python\.tar\.gz is not the published file \(MD5 .* instead of eb9058c3"):
        Cifar(kind="CIFAR100", **shared).load()
    monkeypatch.setattr(KINDS["CIFAR100"].published, "tgz_md5", file_digest(archive, "md5"))
    assert len(Cifar(kind="CIFAR100", **shared).load()) == 20


@pytest.mark.parametrize("content", [pickle.dumps({"data": Malicious()}), b"\x80\x04nonsense", b"", pickle.dumps([1])])
def test_a_malicious_or_damaged_pickle_is_reported_and_not_executed(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar(Path(shared["root"]), "CIFAR100")
    (Path(shared["root"]) / "cifar-100-python" / "train").write_bytes(content)
    with pytest.raises(ValueError, match=r"cifar-100-python/train is (damaged|no CIFAR file)"):
        Cifar(kind="CIFAR100", **shared).load()
    assert not (tmp_path / "pwned").exists()
    assert not list((Path(shared["root"]) / "packed").glob("*.p*"))

"""CelebA from its published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import write_celeba

from gan_lab.data.datasets.celeba import CelebA


@pytest.mark.parametrize("zipped", [False, True])
def test_celeba_is_read_in_its_published_format(shared: dict[str, Any], zipped: bool) -> None:
    write_celeba(Path(shared["root"]), zipped)
    arguments = {**shared, "channels": 3, "resize_mode": "crop"}
    counts = {split: len(CelebA(**{**arguments, "split": split}).load()) for split in ("train", "valid", "test", "all")}
    assert counts == {"train": 8, "valid": 2, "test": 2, "all": 12}
    data = CelebA(**{**arguments, "split": "train", "attributes": ["Smiling", "-Bald"]}).load()
    assert data.index.tolist() == [4, 6] and data.classes == ("Bald", "Eyeglasses", "Smiling")
    assert data.labels_of(slice(None)).tolist() == [[0, 0, 1], [0, 1, 1]]  # type: ignore[union-attr]
    other = CelebA(**{**arguments, "precrop": 108}).packed_path()
    assert other != CelebA(**arguments).packed_path(), "another crop gives another file"
    rows = (Path(shared["root"]) / "celeba" / "list_attr_celeba.txt").read_text()
    (Path(shared["root"]) / "celeba" / "list_attr_celeba.txt").write_text(rows[: len(rows) // 2])
    with pytest.raises(ValueError, match=r"list_attr_celeba\.txt is damaged or truncated: . rows instead of 12"):
        CelebA(**arguments).load()
    with pytest.raises(ValueError, match="precrop=200"):
        CelebA(**{**arguments, "precrop": 200})


def test_a_failed_celeba_download_is_reported_with_paths_and_checksums(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("too many users have viewed or downloaded this file recently")

    monkeypatch.setattr("gan_lab.data.datasets.celeba.download_file_from_google_drive", fail)
    monkeypatch.setattr("gan_lab.data.datasets.celeba.find_spec", lambda name: None)
    with pytest.raises(ValueError) as caught:
        CelebA(**shared).load()
    for expected in (
        "too many users",
        "pip install 'gan_lab[celeba]'",
        "celeba/img_align_celeba.zip   MD5 00d2c5bc",
        "list_attr_celeba.txt",
        "list_eval_partition.txt",
    ):
        assert expected in str(caught.value)

"""Published files: found, downloaded and verified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gan_lab.storage.downloads import Checksum, file_digest, find_file, obtain_file

ADVICE = "set paths.data"


def sha256(content: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(content).hexdigest()[:8])


WRONG = Checksum("sha256", "00000000")


def test_a_file_is_found_under_any_of_its_names(tmp_path: Path) -> None:
    assert find_file(tmp_path / "none", ["a"]) is None
    (tmp_path / "b").write_bytes(b"weights")
    assert find_file(tmp_path, ["a", "b"]) == tmp_path / "b"
    assert obtain_file(tmp_path, ["a", "b"], [], sha256(b"weights"), "a test", ADVICE) == tmp_path / "b"
    digits = sha256(b"weights").digits
    with pytest.raises(ValueError, match=rf"a test: .*b is not the published file .*{digits} instead of 00000000\); remove it"):
        obtain_file(tmp_path, ["a", "b"], [], WRONG, "a test", ADVICE)
    (tmp_path / "b").write_bytes(b"more weights")
    assert not file_digest(tmp_path / "b", "sha256").startswith(digits), "a changed file is read again"


def test_a_file_is_downloaded_completely_or_not_at_all(tmp_path: Path) -> None:
    published, folder = tmp_path / "published", tmp_path / "new" / "weights"
    published.write_bytes(b"weights")
    urls = [(tmp_path / "moved").as_uri(), published.as_uri()]
    with pytest.raises(ValueError, match="its SHA-256 begins with 00000000") as raised:
        obtain_file(folder, ["a"], urls, WRONG, "a test", ADVICE)
    assert sha256(b"weights").digits in str(raised.value) and not list(folder.iterdir())
    assert obtain_file(folder, ["a"], urls, sha256(b"weights"), "a test", ADVICE).read_bytes() == b"weights"
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_missing_file_is_named_with_its_checksum_and_where_to_put_it(tmp_path: Path) -> None:
    checksum = Checksum("md5", hashlib.md5(b"digits").hexdigest())
    with pytest.raises(ValueError, match=rf"dataset=mnist needs .*/a, .* there \(MD5 {checksum.digits}\), or set paths\.data"):
        obtain_file(tmp_path / "new", ["a"], [], checksum, "dataset=mnist", ADVICE)
    assert not (tmp_path / "new").exists(), "without a download nothing is created"
    (tmp_path / "a").write_bytes(b"letters")
    with pytest.raises(ValueError, match=rf"published file \(MD5 [0-9a-f]{{32}} instead of {checksum.digits}\)"):
        obtain_file(tmp_path, ["a"], [], checksum, "dataset=mnist", ADVICE)

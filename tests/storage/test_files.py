"""Folders that several processes claim."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gan_lab.storage.files import claim_folder


def test_everyone_who_claims_a_folder_gets_another_one(tmp_path: Path) -> None:
    wanted = tmp_path / "outputs" / "2026-01-01" / "12-00-00"
    assert claim_folder(wanted) == wanted and wanted.is_dir()
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: claim_folder(wanted), range(40)))
    assert {path.name for path in claimed} == {f"12-00-00-{n}" for n in range(2, 42)}
    assert all(path.is_dir() for path in claimed)

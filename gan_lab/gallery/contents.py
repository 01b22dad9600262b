"""What the gallery shows: the runs and studies below its folders, and which of their files may be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gan_lab.reporting.run_page import final_scores
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import format_count, format_duration

RUN_FILES = re.compile(
    r"(report\.html|losses\.png|samples\.webp|explorer\.webp|config\.yaml|metrics\.jsonl|summary\.json|scores\.json|train\.log"
    r"|samples/[^/]+\.(png|webp|gif|mp4))"
)
"""Files of a run that are shown; checkpoints, which are large, are not."""

STUDY_FILES = re.compile(r"study\.(html|csv|md|json)|experiment/best\.yaml")
"""Files of a study that are shown."""


@dataclass(frozen=True)
class RunCard:
    """A run in the gallery; ``image`` and ``link`` are addresses, ``image`` is empty without samples."""

    path: str
    name: str
    status: str
    link: str
    image: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class StudyLink:
    """A study in the gallery."""

    path: str
    link: str


class Contents:
    """The runs and studies below some folders.

    Args:
        roots: folders relative to the working directory, such as ``outputs``; one may be missing.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = {root.as_posix(): root for root in roots}

    def runs(self) -> list[RunCard]:
        """All runs, the newest first."""
        directories = [RunDirectory(config.parent) for config in self._find("config.yaml")]
        return [card for d in sorted(directories, key=_changed, reverse=True) if (card := _card(d)) is not None]

    def studies(self) -> list[StudyLink]:
        """All studies that have a page, the newest first."""
        pages = sorted(self._find("study.html"), key=lambda page: page.stat().st_mtime, reverse=True)
        return [StudyLink(page.parent.as_posix(), f"/{quote(page.as_posix())}") for page in pages]

    def find_run(self, path: str) -> RunDirectory | None:
        """The run at a path such as ``outputs/a``; None if there is none below the folders."""
        folder = self._inside(path)
        return RunDirectory(folder) if folder is not None and (folder / "config.yaml").is_file() else None

    def find_file(self, path: str) -> Path | None:
        """The file at a path, if it is one that is shown and lies below the folders, also after symbolic links; else None."""
        file = self._inside(path)
        if file is None or not file.is_file():
            return None
        for parent in file.parents:
            name = file.relative_to(parent).as_posix()
            is_run, is_study = RUN_FILES.fullmatch(name), STUDY_FILES.fullmatch(name)
            if (is_run and (parent / "config.yaml").is_file()) or (is_study and (parent / "study.html").is_file()):
                return file
        return None

    def _inside(self, path: str) -> Path | None:
        root = next((root for name, root in self.roots.items() if path.startswith(f"{name}/")), None)
        if root is None or ".." in Path(path).parts or "\0" in path:
            return None
        found = Path(path)
        return found if found.resolve().is_relative_to(root.resolve()) else None

    def _find(self, name: str) -> Iterator[Path]:
        for root in self.roots.values():
            yield from (path for path in root.rglob(name) if "wandb" not in path.parts)


def _changed(directory: RunDirectory) -> float:
    file = directory.summary if directory.summary.exists() else directory.config
    return file.stat().st_mtime


def _card(directory: RunDirectory) -> RunCard | None:
    """The card of a run; None if its records are damaged or have just been removed."""
    try:
        summary = directory.read_summary()
    except (OSError, ValueError):
        return None
    path = directory.path.as_posix()
    scores = final_scores(summary)
    facts = [
        f"{scores[0]['name']} {scores[0]['final']}" if scores else "",
        f"{format_count(summary.get('images', 0), 'image')} in {format_duration(summary.get('seconds', 0))}",
    ]
    return RunCard(
        path=path,
        name=str(summary.get("name", "")),
        status=str(summary.get("status", "not started")),
        link=f"/{quote(path)}/report.html",
        image=f"/{quote(directory.final.as_posix())}" if directory.final.is_file() else "",
        facts=tuple(fact for fact in facts if fact),
    )

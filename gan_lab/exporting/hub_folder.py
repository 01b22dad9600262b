"""A folder for the Hugging Face Hub: weights, configuration, sample grid, scores and a model card."""

from __future__ import annotations

import shutil
from pathlib import Path

from gan_lab.exporting.model_card import model_card
from gan_lab.runs.run import Run
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.storage.weights_file import save_weights


def export_folder(run: Run, path: Path) -> str:
    """Write a folder that :meth:`gan_lab.Run.open` opens, like the run itself.

    Returns:
        Its files.
    """
    own, target = run.directory, RunDirectory(path)
    save_weights(target.weights, run.state())
    copies = [
        (own.config, target.config),
        (own.summary, target.summary),
        (own.scores, target.scores),
        (own.final, target.final),
    ]
    for source, copy in copies:
        if source.is_file():
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, copy)
    picture = target.final.relative_to(path).as_posix() if target.final.is_file() else None
    write_atomically(path / "README.md", model_card(run, picture))
    return ", ".join(sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()))


def push(folder: Path, repository: str) -> str:
    """Upload a folder to the Hugging Face Hub, with the user's own token, as a private repository if it is new.

    Args:
        folder: as written by :func:`export_folder`.
        repository: its name there, ``user/name``.

    Returns:
        The address.

    Raises:
        ValueError: the package is missing, there is no token or no permission, or the network is down.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ValueError("push= needs the package huggingface_hub: pip install 'gan_lab[huggingface]'") from error
    try:
        api = HfApi()
        api.create_repo(repository, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder))
    except Exception as error:  # the package raises its own types, those of requests, and those of the system
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"push={repository}: {reason}. The folder {folder} is complete; `huggingface-cli login` stores your token"
        ) from error

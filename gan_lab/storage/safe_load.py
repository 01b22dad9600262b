"""Reads files written by ``torch.save`` without running code they may contain."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gan_lab.storage.files import check_is_file


def load_tensors(path: Path, otherwise: str, *, verify_checksums: bool = False, stand_ins: Sequence[str] = ()) -> Any:
    """Read a file of tensors and plain Python values onto the CPU.

    Args:
        path: a file written by ``torch.save``.
        otherwise: what the file is if it is not damaged, for the message: "no checkpoint of gan_lab".
        verify_checksums: whether to compare the CRC-32 sums in the file with its content, which ``torch.load`` does not do.
            Only for PyTorch's zip format.
        stand_ins: full names of classes whose objects the file may contain. Each is read as an object of an empty class that is
            made here; the class of that name is not imported.

    Raises:
        ValueError: the file cannot be read, is damaged, or contains anything but plain data.
    """
    check_is_file(path)
    try:
        if verify_checksums:
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"checksum of {damaged} differs")
        with warnings.catch_warnings(), torch.serialization.safe_globals([_empty_class(name) for name in stand_ins]):
            warnings.simplefilter("ignore", UserWarning)  # of an unusual pickle protocol, about a file that is refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is damaged or {otherwise} ({reason[:200]})") from error


def _empty_class(name: str) -> type:
    module, _, qualname = name.rpartition(".")
    return type(qualname, (), {"__module__": module})

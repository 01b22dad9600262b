"""Where the labels of conditional samples come from."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

TABLE_SIZE = 16_384
"""Labels kept at most: enough for frequencies, small enough for a checkpoint."""


class NoLabels:
    """An unconditional generator is given none."""

    names: tuple[str, ...] = ()
    multi_label = False

    def encode(self, labels: Tensor | None) -> None:
        return None

    def sample(self, count: int, device: torch.device, generator: torch.Generator) -> None:
        return None

    def class_indices(self, labels: Tensor | None) -> None:
        return None

    def available_classes(self) -> list[str]:
        return []

    def for_classes(self, names: Sequence[str | int], count: int, generator: torch.Generator) -> Tensor:
        raise ValueError("classes: this generator was trained without conditioning, so it can't be asked for one")

    def state_dict(self) -> dict[str, Any]:
        return {}


class Labels:
    """A sample of a data set's labels, from which those of fakes are drawn.

    Args:
        names: of the K classes or attributes.
        table: ``[M]`` int64 class numbers or ``[M, K]`` uint8 attributes.
    """

    def __init__(self, names: Sequence[str], table: Tensor) -> None:
        self.names = tuple(names)
        self.table = table
        self.multi_label = table.dim() == 2

    @classmethod
    def from_dataset(cls, names: Sequence[str], labels: Tensor) -> Labels:
        """Those of a data set, or of a random part of a large one in which no label is missing that the data has."""
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        kept = order[:TABLE_SIZE]
        for number in range(len(names)):
            has = (labels[:, number] if labels.dim() == 2 else labels) == (1 if labels.dim() == 2 else number)
            if not has[kept].any():
                kept = torch.cat([kept, has.nonzero()[:1, 0]])
        return cls(names, labels[kept].clone())

    def encode(self, labels: Tensor | None) -> Tensor:
        """Class numbers or attributes to float ``[N, K]`` of 0 and 1."""
        assert labels is not None, "a conditional game on a data set without labels"
        if labels.dim() == 2:
            return labels.float()
        return torch.zeros(len(labels), len(self.names), device=labels.device).scatter_(1, labels[:, None], 1.0)

    def sample(self, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """``[count, K]`` as frequent, and in such combinations, as in the data. ``generator`` is on the CPU."""
        return self.encode(self.table[torch.randint(len(self.table), (count,), generator=generator)]).to(device)

    def class_indices(self, labels: Tensor | None) -> Tensor | None:
        """Class numbers ``[N]`` of encoded labels; None for attributes, which are no classes."""
        return None if self.multi_label or labels is None else labels.argmax(1)

    def available_classes(self) -> list[str]:
        """Names of the classes or attributes that some image has."""
        present = self.table.any(0) if self.multi_label else torch.bincount(self.table, minlength=len(self.names)) > 0
        return [name for name, there in zip(self.names, present, strict=True) if there]

    def for_classes(self, names: Sequence[str | int], count: int, generator: torch.Generator) -> Tensor:
        """``[len(names) * count, K]``: ``count`` in a row for each of some classes, given by name or by number.

        An attribute's rows are drawn from the data's combinations that have it, or with a minus sign before its name have not.

        Raises:
            ValueError: no such class, one named twice, or no combination with such an attribute.
        """
        if len({str(name) for name in names}) < len(names):
            raise ValueError(f"classes={list(names)}: one is named twice")
        return torch.cat([self._of_one(name, count, generator) for name in names])

    def _of_one(self, name: str | int, count: int, generator: torch.Generator) -> Tensor:
        number = self._number(str(name).removeprefix("-") if self.multi_label else str(name))
        if not self.multi_label:
            return self.encode(torch.full((count,), number))
        rows = self.table[self.table[:, number] == (0 if str(name).startswith("-") else 1)]
        if not len(rows):
            raise ValueError(f"classes: none of the training images had {name}")
        return self.encode(rows[torch.randint(len(rows), (count,), generator=generator)])

    def _number(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        near = get_close_matches(name, self.names, n=3) or list(self.names[:10])
        raise ValueError(f"classes: there is no {name}; did you mean {', '.join(near)}? ({len(self.names)} in all)")

    def state_dict(self) -> dict[str, Any]:
        return {"names": list(self.names), "table": self.table}


def labels_from_state(state: dict[str, Any]) -> Labels | NoLabels:
    """The source a checkpoint tells of."""
    return Labels(state["names"], state["table"]) if state else NoLabels()

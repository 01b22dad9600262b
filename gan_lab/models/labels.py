"""Labels of generated images: encoding, random labels with the data's frequencies, and labels of chosen classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gan_lab.utils.suggestions import Typed, as_typed, index_of_name

TABLE_SIZE = 16_384
"""Maximum number of stored labels: enough for their frequencies, small enough for a checkpoint."""


class NoLabels:
    """For an unconditional generator, which takes no labels. The methods are those of :class:`Labels`."""

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

    def numbers(self, names: Sequence[Typed]) -> list[int]:
        raise ValueError("classes: this generator was trained without conditioning, so it can't be asked for one")

    def for_classes(self, names: Sequence[Typed], count: int, generator: torch.Generator) -> Tensor:
        raise ValueError("classes: this generator was trained without conditioning, so it can't be asked for one")

    def state_dict(self) -> dict[str, Any]:
        return {}


class Labels:
    """A sample of a dataset's labels, from which labels of fakes are drawn.

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
        """All labels, or of a large dataset a random :data:`TABLE_SIZE` and one of each class or attribute they lack."""
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        kept = order[:TABLE_SIZE]
        for number in range(len(names)):
            has = (labels[:, number] if labels.dim() == 2 else labels) == (1 if labels.dim() == 2 else number)
            if not has[kept].any():
                kept = torch.cat([kept, has.nonzero()[:1, 0]])
        return cls(names, labels[kept].clone())

    def encode(self, labels: Tensor | None) -> Tensor:
        """Class numbers ``[N]`` or attributes ``[N, K]`` to float ``[N, K]`` of 0 and 1."""
        assert labels is not None, "a conditional GAN needs a dataset with labels"
        if labels.dim() == 2:
            return labels.float()
        return torch.zeros(len(labels), len(self.names), device=labels.device).scatter_(1, labels[:, None], 1.0)

    def sample(self, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """Random labels ``[count, K]`` with the frequencies, and combinations, of the data. ``generator`` is on the CPU."""
        return self.encode(self.table[torch.randint(len(self.table), (count,), generator=generator)]).to(device)

    def class_indices(self, labels: Tensor | None) -> Tensor | None:
        """Class numbers ``[N]`` of encoded labels; None for attributes."""
        return None if self.multi_label or labels is None else labels.argmax(1)

    def available_classes(self) -> list[str]:
        """Names of the classes or attributes that at least one image has."""
        present = self.table.any(0) if self.multi_label else torch.bincount(self.table, minlength=len(self.names)) > 0
        return [name for name, there in zip(self.names, present, strict=True) if there]

    def for_classes(self, names: Sequence[Typed], count: int, generator: torch.Generator) -> Tensor:
        """Labels ``[len(names) * count, K]``: ``count`` rows in sequence for each of some classes.

        Args:
            names: classes or attributes by name or by number. For an attribute, rows are drawn from those of the data that have
                it; with a minus sign before its name, from those that don't.
            count: rows of each.
            generator: on the CPU.

        Raises:
            ValueError: an unknown class, one named twice, or one that no image of the data has.
        """
        return torch.cat([self._for_class(number, count, generator) for number in self.numbers(names)])

    def numbers(self, names: Sequence[Typed]) -> list[int]:
        """The number of each class or attribute, from 0; without an attribute (a minus sign before its name), K more.

        Raises:
            ValueError: an unknown class, one named twice, or one that no image of the data has.
        """
        found = [self._number(as_typed(name)) for name in names]
        if len(set(found)) < len(found):
            raise ValueError(f"classes={list(names)}: one is named twice")
        for name, number in zip(names, found, strict=True):
            if not self._rows(number).any():
                raise ValueError(
                    f"classes: none of the training images had {name}, so the generator has not learned it; they had "
                    f"{', '.join(self.available_classes())}"
                )
        return found

    def _for_class(self, number: int, count: int, generator: torch.Generator) -> Tensor:
        rows = self.table[self._rows(number)]
        if not self.multi_label:
            return self.encode(rows[:1].expand(count))
        return self.encode(rows[torch.randint(len(rows), (count,), generator=generator)])

    def _rows(self, number: int) -> Tensor:
        """Which rows of the table have a class or attribute, ``[M]`` bool; ``number`` as of :meth:`numbers`."""
        if not self.multi_label:
            return self.table == number
        absent, column = divmod(number, len(self.names))
        return self.table[:, column] == (0 if absent else 1)

    def _number(self, name: str) -> int:
        if self.multi_label and name.startswith("-"):
            return len(self.names) + self._index(name.removeprefix("-"))
        return self._index(name)

    def _index(self, name: str) -> int:
        by_number = name.isdecimal() and name not in self.names
        return index_of_name(int(name) if by_number else name, self.names, "classes")

    def state_dict(self) -> dict[str, Any]:
        return {"names": list(self.names), "table": self.table}


def labels_from_state(state: dict[str, Any]) -> Labels | NoLabels:
    """The labels that were stored in a checkpoint by ``state_dict``."""
    return Labels(state["names"], state["table"]) if state else NoLabels()

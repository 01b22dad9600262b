"""Holds the data set of a resumed run against the one that its checkpoint was trained on.

A conditional network knows classes by number, and numbers follow the names' order. The classes of a resumed run therefore get
the numbers of the checkpoint, by name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig

from gan_lab.data.image_dataset import ImageDataset

log = logging.getLogger(__name__)

MAX_NAMES = 5
"""Class names that a message lists."""


def match_data(cfg: DictConfig, data: ImageDataset, state: Mapping[str, Any]) -> list[str] | None:
    """Check the data against a checkpoint, and find how their classes have to be numbered.

    Args:
        cfg: the configuration.
        data: as loaded with ``cfg``.
        state: the checkpoint. Those without the entry ``data`` are compared by the number of images and the class names.

    Returns:
        The classes in the order of their numbers in the checkpoint, for :func:`renumbered`; None if they have it already.

    Raises:
        ValueError: the number of classes has changed; or images, labels or class names have, unless ``resume_data=changed``.
    """
    trained: Sequence[str] = state["labels"].get("names", ())  # empty without conditioning, for which labels do not matter
    order = class_order(trained, data.classes)
    if len(order) != len(trained):
        raise ValueError(f"resume: the data set has {len(order)} classes now, and the networks were built for {len(trained)}")
    other_order = bool(trained) and order != list(data.classes)
    if other_order and data.multi_label:
        raise ValueError(f"resume: the attributes are {_list(data.classes)} now and were {_list(trained)}, in this order")
    found = _differences(data.only_classes(order) if other_order else data, trained, state)
    if found and cfg.resume_data != "changed":
        raise ValueError(
            f"resume: {'; '.join(found)}. A run is resumed with the same images and labels; resume_data=changed accepts others"
        )
    for difference in found:
        log.warning("resume_data=changed: %s", difference)
    if not other_order:
        return None
    log.info("the classes keep the numbers that they were trained with: %s", _list(order))
    return order


@contextmanager
def renumbered(cfg: DictConfig, order: Sequence[str]) -> Iterator[None]:
    """Within the block, every data set that ``cfg`` describes has its classes in this order."""
    chosen = cfg.dataset.classes
    cfg.dataset.classes = list(order)
    try:
        yield
    finally:
        cfg.dataset.classes = chosen  # the run's own choice, which a later resume has to find again


def class_order(trained: Sequence[str], present: Sequence[str]) -> list[str]:
    """The ``present`` classes in the order of ``trained``; new names take the places of missing ones.

    All of ``present`` as they are if nothing was trained with labels, or if there are more or fewer now.
    """
    if not trained:
        return []
    if len(trained) != len(present):
        return list(present)
    new = iter([name for name in present if name not in trained])
    return [name if name in present else next(new) for name in trained]


def _differences(data: ImageDataset, trained: Sequence[str], state: Mapping[str, Any]) -> list[str]:
    """What differs between the data, already with the checkpoint's class numbers, and those of the checkpoint."""
    found = []
    if missing := [name for name in trained if name not in data.classes]:
        new = [name for name in data.classes if name not in trained]
        found.append(f"there is no class {_list(missing)} any more, and {_list(new)} is new")
    known = state.get("data")
    if len(data) != state["num_images"]:
        found.append(f"the data set has {len(data):,} images now and had {state['num_images']:,}")
    elif known is not None and data.fingerprint() != known["images"]:
        found.append("the images, or their order, are not those that the run was trained on")
    elif known is not None and trained and not missing and data.labels_fingerprint() != known["labels"]:
        found.append("the images are the same, but some have other labels than the run was trained with")
    return found


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more

"""Networks compiled by ``torch.compile``, with a fallback."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)


class Compiled:
    """The compiled forward function of a network; if compiling fails it logs a warning and calls the network itself.

    The network itself is unchanged: saving, averaging and differentiating it twice don't involve the compiler.

    Args:
        network: compiled at its first call, and again for each new shape of a batch.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._call = torch.compile(network)
        self._has_run = False

    def __call__(self, *arguments: Any) -> Any:
        if self._has_run:
            return self._call(*arguments)
        try:
            result = self._call(*arguments)
        except Exception as error:  # a missing compiler, an unsupported operation: many types, none of them public
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning(
                "compile: continues without compiling, because %s can't be compiled (%s)",
                type(self._network).__name__,
                first_line,
            )
            self._call = self._network
            result = self._network(*arguments)
        self._has_run = True
        return result

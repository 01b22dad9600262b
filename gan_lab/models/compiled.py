"""Networks translated by ``torch.compile``."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)


class Compiled:
    """What is called in a network's place; where it can't be compiled, the network itself, with a message.

    The network stays as it is: whoever saves, averages or differentiates it twice does so without the compiler.

    Args:
        network: translated at its first call, and anew for each shape of batch.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._call = torch.compile(network)
        self._proven = False

    def __call__(self, *arguments: Any) -> Any:
        if self._proven:
            return self._call(*arguments)
        try:
            result = self._call(*arguments)
        except Exception as error:  # a compiler missing, an operation it does not know: of many types, none of them public
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning(
                "compile: continues without compiling, because %s can't be compiled (%s)",
                type(self._network).__name__,
                first_line,
            )
            self._call = self._network
            result = self._network(*arguments)
        self._proven = True
        return result

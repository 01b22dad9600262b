"""What several families share."""

from __future__ import annotations

from torch import nn

SMALLEST_BASES = (4, 5, 6, 7)


def normal_init(module: nn.Module) -> None:
    """DCGAN's initialisation, to be used with ``Module.apply``: weights N(0, 0.02), BatchNorm weights N(1, 0.02), biases 0.

    Radford et al. 2015, section 4; BatchNorm as in the reference implementation, pytorch/examples ``dcgan/main.py``.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def split_size(size: int, largest: int = 128) -> tuple[int, int]:
    """Write ``size`` as ``base * 2**doublings`` with base 4 to 7, the map a stack of stride-2 layers starts from.

    Returns:
        ``(base, doublings)``; 64 gives (4, 4), 28 gives (7, 2).

    Raises:
        ValueError: no such factors, fewer than two doublings, or a size above ``largest``.
    """
    for base in SMALLEST_BASES:
        doublings = (size // base).bit_length() - 1
        if base << max(doublings, 0) == size and doublings >= 2 and size <= largest:
            return base, doublings
    possible = sorted(base << n for n in range(2, 8) for base in SMALLEST_BASES if base << n <= largest)
    raise ValueError(f"size={size}: this family builds {', '.join(map(str, possible))} pixels; set dataset.size to one of them")


def check_positive(**numbers: int) -> None:
    """Raise ValueError for the first of ``numbers`` below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")

"""DCGAN (Radford, Metz, Chintala 2015), layer for layer the reference implementation pytorch/examples ``dcgan/main.py``.

At 64x64, 3 channels, width 64, latent size 100: 3,576,704 parameters in the generator, 2,765,568 in the discriminator.
Other sizes leave out or add stride-2 layers; the width doubles towards the smallest map, as in the paper.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gan_lab.models.layers import check_positive, normal_init, split_size


class Generator(nn.Module):
    """Latents ``[N, latent_size]`` to images ``[N, channels, size, size]`` in [-1, 1].

    Args:
        size: of the image, ``base * 2**n`` with base 4 to 7, 16 to 128 pixels.
        channels: 1 grey, 3 colour.
        width: channels of the last hidden layer (ngf).
        latent_size: length of a latent vector (nz).
    """

    def __init__(self, size: int, channels: int, width: int = 64, latent_size: int = 100) -> None:
        super().__init__()
        check_positive(channels=channels, width=width, latent_size=latent_size)
        base, doublings = split_size(size)
        widths = [width << n for n in reversed(range(doublings))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_size, widths[0], base, 1, 0, bias=False), *_norm_relu(widths[0])]
        for wide, narrow in pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), *_norm_relu(narrow)]
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers).apply(normal_init)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents[:, :, None, None])


class Discriminator(nn.Module):
    """Images ``[N, channels, size, size]`` in [-1, 1] to logits ``[N]``.

    Args:
        size, channels: as the generator's.
        width: channels of the first layer (ndf).
    """

    def __init__(self, size: int, channels: int, width: int = 64) -> None:
        super().__init__()
        check_positive(channels=channels, width=width)
        base, doublings = split_size(size)
        widths = [width << n for n in range(doublings)]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, inplace=True)]
        layers += [nn.Conv2d(widths[-1], 1, base, 1, 0, bias=False)]
        self.layers = nn.Sequential(*layers).apply(normal_init)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten()


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]

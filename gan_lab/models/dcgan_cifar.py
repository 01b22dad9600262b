"""The CIFAR-100 study's GAN: a dense start, transposed convolutions up to the image, dropout in the discriminator.

Tutorial DCGANs in this style (Keras, TensorFlow) start from a dense layer instead of a transposed convolution on a 1x1 map
and keep the discriminator weak by dropout in place of BatchNorm. The study trains it with the hinge loss and Adam for 50
epochs at batch 256 with 100-dimensional noise: ``model=dcgan_cifar dataset=cifar100 loss=hinge epochs=50 batch_size=256``.
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
        width: channels of the last hidden layer; doubles towards the smallest map.
        latent_size: length of a latent vector.
    """

    def __init__(self, size: int, channels: int, width: int = 64, latent_size: int = 100) -> None:
        super().__init__()
        check_positive(channels=channels, width=width, latent_size=latent_size)
        base, doublings = split_size(size)
        widths = [width << n for n in reversed(range(doublings))]
        layers: list[nn.Module] = [
            nn.Linear(latent_size, widths[0] * base * base, bias=False),
            nn.Unflatten(1, (widths[0], base, base)),
            *_norm_act(widths[0]),
        ]
        for wide, narrow in pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), *_norm_act(narrow)]
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers).apply(normal_init)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class Discriminator(nn.Module):
    """Images ``[N, channels, size, size]`` in [-1, 1] to logits ``[N]``; no normalisation, dropout after every layer.

    Args:
        size, channels: as the generator's.
        width: channels of the first layer; doubles with every halving of the map.
        dropout: probability of a feature being zeroed.
    """

    def __init__(self, size: int, channels: int, width: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        check_positive(channels=channels, width=width)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout={dropout}: must lie in [0, 1)")
        base, doublings = split_size(size)
        widths = [channels, *(width << n for n in range(doublings))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(dropout)]
        layers += [nn.Flatten(), nn.Linear(widths[-1] * base * base, 1)]
        self.layers = nn.Sequential(*layers).apply(normal_init)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten()


def _norm_act(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True)]

"""R3GAN's published weights: the names of brownvc/R3GAN, ``R3GAN/Networks.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

GENERATOR, DISCRIMINATOR = "AggregationLayer.Layer.weight", "ExtractionLayer.Layer.weight"
"""The layers next to the image, by which the two networks are told apart."""

BLOCK = {
    "LinearLayer1.Layer.weight": "0.weight",
    "NonLinearity1.Bias": "0.bias",
    "LinearLayer2.Layer.weight": "2.weight",
    "NonLinearity2.Bias": "2.bias",
    "LinearLayer3.Layer.weight": "4.weight",
}
"""The parameters of a residual block."""


def recognizes(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is the state dict of one of the authors' networks."""
    return any(str(name).removeprefix("Model.") in (GENERATOR, DISCRIMINATOR) for name in state)


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a :mod:`gan_lab.models.r3gan` generator or discriminator from that of the authors' network.

    Labels: the authors' conditional networks are those of ``conditioning=embedding``.
    """
    state = {name.removeprefix("Model."): values for name, values in state.items()}
    layers = [layer for values in _stages(state) for layer in _convert_layer(values)]
    renamed: dict[str, Tensor] = {}
    if GENERATOR in state:
        layers += [{"weight": state[GENERATOR]}]
        embedding = "condition.embedding.weight"
    else:
        layers = [{"weight": state[DISCRIMINATOR]}, *layers]
        embedding = "head.embedding.weight"
        if "EmbeddingLayer.weight" not in state:
            renamed["logit.weight"] = layers.pop()["weight"]
    if "EmbeddingLayer.weight" in state:
        renamed[embedding] = state["EmbeddingLayer.weight"]
    return renamed | {f"layers.{n}.{name}": values for n, layer in enumerate(layers) for name, values in layer.items()}


def _stages(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors of each layer of ``MainLayers.<stage>.Layers.<layer>``, in order."""
    layers: dict[tuple[int, int], dict[str, Tensor]] = {}
    for name, values in state.items():
        if name.startswith("MainLayers."):
            _, stage, _, layer, rest = name.split(".", 4)
            layers.setdefault((int(stage), int(layer)), {})[rest] = values
    return (layers[position] for position in sorted(layers))


def _convert_layer(values: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """One layer of the authors' as one or two of ours."""
    conv = [{"weight": values["LinearLayer.Layer.weight"]}] if "LinearLayer.Layer.weight" in values else []
    if "Basis" in values:
        return [{"basis": values["Basis"], "linear.weight": values["LinearLayer.weight"]}]
    if "Basis.weight" in values:
        return [{"basis": values["Basis.weight"].squeeze(1)}, {"weight": values["LinearLayer.weight"]}]
    if "Resampler.Kernel" not in values:
        return [{new: values[name] for name, new in BLOCK.items()}]
    narrows = bool(conv) and conv[0]["weight"].shape[0] < conv[0]["weight"].shape[1]
    return [*conv, {}] if narrows else [{}, *conv]  # the generator changes the channels first, then resamples

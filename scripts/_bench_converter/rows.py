"""The networks by name, and what they are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _bench_converter.networks.case import Case

__all__ = ["FRAMEWORKS", "NETWORKS", "Network"]

#: The packages of each framework.
FRAMEWORKS = {
    "JAX": ("jax",),
    "Equinox": ("equinox",),
    "Flax NNX": ("flax",),
    "Flax Linen": ("flax",),
    "Haiku": ("haiku",),
    "Keras": ("keras",),
    "PyTorch": ("torch", "torchax"),
}

#: Largest relative L2 by element type. In the narrow types JAX and the file round at different places, each by up to
#: 5e-4 (float16) or 4e-3 (bfloat16) an operation.
TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 4e-2}


@dataclass(frozen=True)
class Network:
    """One row: the function ``name`` of a module of ``networks``."""

    name: str
    title: str
    family: str
    framework: str
    module: str
    dtype: str = "float32"

    @property
    def tolerance(self) -> float:
        return TOLERANCES[self.dtype]

    def make(self) -> Case:
        """Build it; its framework is imported."""
        case: Case = getattr(import_module(f"_bench_converter.networks.{self.module}"), self.name)()
        return case


_EQUINOX, _NNX, _LINEN, _HAIKU, _KERAS, _TORCH = ("Equinox", "Flax NNX", "Flax Linen", "Haiku", "Keras", "PyTorch")

NETWORKS = (
    Network("resnet18", "ResNet-18", "image", _EQUINOX, "equinox_image"),
    Network("vit", "ViT-S", "image", _EQUINOX, "equinox_image"),
    Network("resnet50", "ResNet-50", "image", _NNX, "nnx_image"),
    Network("dino", "DINOv2-S", "image", _NNX, "nnx_image"),
    Network("unet", "U-Net", "image", _NNX, "nnx_image"),
    Network("swin", "Swin", "image", _NNX, "nnx_image"),
    Network("convnext", "ConvNeXt", "image", _LINEN, "linen_image"),
    Network("efficientnet", "EfficientNet-B0", "image", _LINEN, "linen_image"),
    Network("mobilenet", "MobileNetV1", "image", _HAIKU, "haiku_networks"),
    Network("keras_mobilenet", "MobileNetV2", "image", _KERAS, "keras_networks"),
    Network("torch_resnet", "ResNet", "image", _TORCH, "torch_networks"),
    Network("bert", "BERT", "text", _LINEN, "linen_text"),
    Network("gpt", "GPT-2", "text", _NNX, "nnx_text"),
    Network("llama", "Llama", "text", _EQUINOX, "equinox_text"),
    Network("clip_text", "CLIP, text", "text", _EQUINOX, "equinox_text"),
    Network("t5", "T5", "text", _LINEN, "linen_text"),
    Network("keras_transformer", "Transformer", "text", _KERAS, "keras_networks"),
    Network("torch_encoder", "Transformer", "text", _TORCH, "torch_networks"),
    Network("gru", "GRU by scan", "sequence", _EQUINOX, "equinox_sequence"),
    Network("bilstm", "bidirectional LSTM", "sequence", _LINEN, "linen_text"),
    Network("tcn", "TCN", "sequence", _HAIKU, "haiku_networks"),
    Network("mamba", "Mamba", "sequence", _EQUINOX, "equinox_sequence"),
    Network("s5", "S5", "sequence", _EQUINOX, "equinox_sequence"),
    Network("gat", "graph attention", "graph", "JAX", "graphs"),
    Network("message_passing", "message passing", "graph", _LINEN, "graphs"),
    Network("ddpm", "DDPM U-Net", "diffusion", _NNX, "diffusion"),
    Network("dit", "DiT", "diffusion", _LINEN, "diffusion"),
    Network("unet_3d", "3D U-Net", "3D", _EQUINOX, "volumes"),
    Network("resnet_3d", "3D ResNet", "3D", _LINEN, "volumes"),
    Network("vit_f16", "ViT", "float16", _NNX, "nnx_image", "float16"),
    Network("resnet_f16", "ResNet", "float16", _LINEN, "linen_image", "float16"),
    Network("decoder_bf16", "GPT-2", "bfloat16", _NNX, "nnx_text", "bfloat16"),
    Network("mixer_bf16", "MLP-Mixer", "bfloat16", _LINEN, "linen_image", "bfloat16"),
)

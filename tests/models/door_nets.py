"""The networks that the door for any JAX model is measured with, in the sizes of tests or in real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

__all__ = ["NETS", "REAL", "SMALL", "Net", "Size", "ViT", "vit_module"]


@dataclass(frozen=True)
class Size:
    """Pixels along an image's side, channels, layers and words."""

    pixels: int
    channels: int
    layers: int
    words: int


SMALL = Size(pixels=16, channels=8, layers=2, words=30)
REAL = Size(pixels=64, channels=64, layers=6, words=8000)


@dataclass(frozen=True)
class Net:
    """What `swift_export.export` is called with, and sizes of the unknown dimensions that no export saw."""

    thing: Any
    inputs: Mapping[str, Any]
    unseen: tuple[Mapping[str, int], ...] = ({"batch": 3}, {"batch": 7})
    options: Mapping[str, Any] = field(default_factory=dict)


class Residual(eqx.Module):
    """Two convolutions with batch norms, and a short cut."""

    convs: list[eqx.nn.Conv2d]
    norms: list[eqx.nn.BatchNorm]
    shortcut: eqx.nn.Conv2d | None

    def __init__(self, inside: int, outside: int, stride: int, key: Any) -> None:
        a, b, c = jax.random.split(key, 3)
        self.convs = [
            eqx.nn.Conv2d(inside, outside, 3, stride, 1, use_bias=False, key=a),
            eqx.nn.Conv2d(outside, outside, 3, 1, 1, use_bias=False, key=b),
        ]
        self.norms = [eqx.nn.BatchNorm(outside, axis_name="batch", mode="batch") for _ in range(2)]
        changes = stride > 1 or inside != outside
        self.shortcut = eqx.nn.Conv2d(inside, outside, 1, stride, use_bias=False, key=c) if changes else None

    def __call__(self, x: Any, state: Any) -> Any:
        y, state = self.norms[0](self.convs[0](x), state)
        y, state = self.norms[1](self.convs[1](jax.nn.relu(y)), state)
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x))), state


class ResNet(eqx.Module):
    """As ResNet-18: four stages of two residual blocks."""

    stem: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    pool: eqx.nn.MaxPool2d
    blocks: list[Residual]
    head: eqx.nn.Linear

    def __init__(self, channels: int, stages: int, key: Any) -> None:
        keys = iter(jax.random.split(key, 2 + 2 * stages))
        self.stem = eqx.nn.Conv2d(3, channels, 7, 2, 3, use_bias=False, key=next(keys))
        self.norm = eqx.nn.BatchNorm(channels, axis_name="batch", mode="batch")
        self.pool = eqx.nn.MaxPool2d(3, 2, 1)
        self.blocks, inside = [], channels
        for stage in range(stages):
            outside = channels << stage
            self.blocks += [
                Residual(inside, outside, 2 if stage else 1, next(keys)),
                Residual(outside, outside, 1, next(keys)),
            ]
            inside = outside
        self.head = eqx.nn.Linear(inside, 10, key=next(keys))

    def __call__(self, image: Any, state: Any) -> Any:
        x, state = self.norm(self.stem(image), state)
        x = self.pool(jax.nn.relu(x))
        for block in self.blocks:
            x, state = block(x, state)
        return self.head(x.mean((1, 2))), state


class EncoderBlock(eqx.Module):
    """Attention and MLP, norms first."""

    norms: list[eqx.nn.LayerNorm]
    attention: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP

    def __init__(self, size: int, heads: int, key: Any) -> None:
        a, b = jax.random.split(key)
        self.norms = [eqx.nn.LayerNorm(size), eqx.nn.LayerNorm(size)]
        self.attention = eqx.nn.MultiheadAttention(heads, size, use_query_bias=True, use_output_bias=True, key=a)
        self.mlp = eqx.nn.MLP(size, size, 4 * size, 1, activation=jax.nn.gelu, key=b)

    def __call__(self, x: Any) -> Any:
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y)
        return x + jax.vmap(self.mlp)(jax.vmap(self.norms[1])(x))


class ViT(eqx.Module):
    """One image to logits."""

    patches: eqx.nn.Conv2d
    token: Any
    places: Any
    blocks: list[EncoderBlock]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, pixels: int, size: int, layers: int, key: Any) -> None:
        keys = jax.random.split(key, 4 + layers)
        side = pixels // 8 if pixels > 32 else pixels // 4
        self.patches = eqx.nn.Conv2d(3, size, pixels // side, pixels // side, key=keys[0])
        self.token = jax.random.normal(keys[1], (1, size))
        self.places = jax.random.normal(keys[2], (1 + side * side, size))
        self.blocks = [EncoderBlock(size, 4, k) for k in keys[4:]]
        self.norm, self.head = eqx.nn.LayerNorm(size), eqx.nn.Linear(size, 10, key=keys[3])

    def __call__(self, image: Any) -> Any:
        x = jnp.concatenate([self.token, self.patches(image).reshape(len(self.token[0]), -1).T]) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[0]))


class CausalLayer(nnx.Module):
    """Causal attention with rotary embeddings of places, and a gated MLP."""

    def __init__(self, size: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.norms = nnx.List([nnx.RMSNorm(size, rngs=rngs), nnx.RMSNorm(size, rngs=rngs)])
        self.project = nnx.Linear(size, 3 * size, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(size, size, use_bias=False, rngs=rngs)
        self.gate = nnx.Linear(size, 4 * size, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(size, 4 * size, use_bias=False, rngs=rngs)
        self.down = nnx.Linear(4 * size, size, use_bias=False, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = x + self.out(self.attend(self.project(self.norms[0](x))))
        y = self.norms[1](x)
        return x + self.down(nnx.silu(self.gate(y)) * self.up(y))

    def attend(self, projected: Any) -> Any:
        batch, length, width = projected.shape
        q, k, v = jnp.moveaxis(projected.reshape(batch, length, 3, self.heads, -1), 2, 0)
        size = q.shape[-1]
        angles = jnp.arange(length)[:, None, None] * 10000.0 ** (-jnp.arange(size // 2) * 2 / size)

        def turn(y: Any) -> Any:
            a, b = jnp.split(y, 2, -1)
            return jnp.concatenate(
                [a * jnp.cos(angles) - b * jnp.sin(angles), a * jnp.sin(angles) + b * jnp.cos(angles)], -1
            )

        scores = jnp.einsum("bqhd,bkhd->bhqk", turn(q), turn(k)) / size**0.5
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v).reshape(batch, length, width // 3)


class Decoder(nnx.Module):
    """Tokens to logits."""

    def __init__(self, words: int, size: int, layers: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(words, size, rngs=rngs)
        self.layers = nnx.List([CausalLayer(size, 4, rngs) for _ in range(layers)])
        self.norm = nnx.RMSNorm(size, rngs=rngs)

    def __call__(self, tokens: Any) -> Any:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.embed.attend(self.norm(x))


class ConvNet(linen.Module):
    """Convolutions with batch norms, some of them by channel."""

    channels: int
    layers: int

    @linen.compact
    def __call__(self, image: Any, train: bool = True) -> Any:
        x = image
        for number in range(self.layers):
            size = self.channels << (number // 2)
            x = linen.Conv(size, (3, 3), strides=1 + number % 2, use_bias=False)(x)
            x = linen.relu(linen.BatchNorm(use_running_average=not train)(x))
            y = linen.Conv(size, (3, 3), feature_group_count=size)(x)
            x = x + linen.swish(linen.BatchNorm(use_running_average=not train)(y))
        x = linen.Dropout(0.3, deterministic=not train)(linen.avg_pool(x, (2, 2), (2, 2)))
        return {"logits": linen.Dense(10)(x.mean((1, 2))), "features": x}


def match(weights: Any, image: Any, text: Any) -> Any:
    """Two inputs, each with a batch of its own, and three outputs."""
    a, b = image @ weights["image"]["kernel"], text @ weights["text"]["kernel"]
    with jax.named_scope("normalise"):
        a, b = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    similarity = jnp.exp(weights["scale"]) * a @ b.T
    return {"similarity": similarity, "best": jnp.argmax(similarity, 1), "near": similarity > 0}


class TextEncoder(eqx.Module):
    """Padded texts and their lengths to embeddings, logits and classes."""

    embedding: Any
    blocks: list[EncoderBlock]
    head: eqx.nn.Linear

    def __init__(self, words: int, size: int, layers: int, key: Any) -> None:
        keys = jax.random.split(key, 2 + layers)
        self.embedding = eqx.nn.Embedding(words, size, key=keys[0])
        self.blocks = [EncoderBlock(size, 4, k) for k in keys[2:]]
        self.head = eqx.nn.Linear(size, 5, key=keys[1])

    def __call__(self, tokens: Any, length: Any) -> Any:
        x = jax.vmap(self.embedding)(tokens)
        for block in self.blocks:
            x = block(x)
        inside = jnp.arange(len(tokens)) < length
        mean = jnp.where(inside[:, None], x, 0).sum(0) / jnp.maximum(length, 1)
        logits = self.head(mean)
        return mean, logits, jnp.argmax(logits)


def resnet(size: Size) -> Net:
    """ResNet-18 at 64 channels, with the statistics of a training step."""
    stages = 4 if size.layers > 2 else 2
    net, state = eqx.nn.make_with_state(ResNet)(size.channels, stages, jax.random.key(0))
    batched = eqx.filter_vmap(net, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    _, state = eqx.filter_jit(batched)(noise(8, 3, size.pixels, size.pixels), state)
    return Net((batched, state), {"image": ("batch", 3, size.pixels, size.pixels)}, options={"name": "resnet"})


def vit_module(size: Size) -> ViT:
    """As ViT-tiny, with patches for smaller images."""
    return ViT(size.pixels, 3 * size.channels if size.layers > 2 else size.channels, size.layers, jax.random.key(1))


def vit(size: Size) -> Net:
    return Net(eqx.filter_vmap(vit_module(size)), {"image": ("batch", 3, size.pixels, size.pixels)})


def decoder(size: Size) -> Net:
    net = Decoder(size.words, 4 * size.channels, min(size.layers, 4), nnx.Rngs(2))
    unseen = ({"batch": 3, "length": 33}, {"batch": 2, "length": 16})
    return Net(net, {"tokens": (("batch", "length"), np.int32)}, unseen)


def conv_net(size: Size) -> Net:
    net = ConvNet(size.channels // 2, size.layers)
    variables = jax.jit(net.init)({"params": jax.random.key(3), "dropout": jax.random.key(4)}, noise(1, 16, 16, 3))
    variables = jax.tree.map(lambda v: np.asarray(v) + 0.1 * np.abs(noise(*v.shape)), variables)
    options = {"weights": variables, "call": {"train": False}}
    return Net(net, {"image": ("batch", size.pixels, size.pixels, 3)}, options=options)


def two_towers(size: Size) -> Net:
    rows, columns, both = 12 * size.channels, 10 * size.channels, 8 * size.channels
    weights = {
        "image": {"kernel": noise(rows, both)},
        "text": {"kernel": noise(columns, both)},
        "scale": np.float32(1.5),
    }
    inputs = {"image": ("images", rows), "text": ("texts", columns)}
    return Net(match, inputs, ({"images": 3, "texts": 5},), {"weights": weights})


def text_encoder(size: Size) -> Net:
    net = TextEncoder(size.words, 2 * size.channels, size.layers, jax.random.key(5))
    inputs = {"tokens": (("batch", 24), np.int32), "length": (("batch",), np.int32)}
    return Net(eqx.filter_vmap(net), inputs, options={"outputs": ("embedding", "logits", "label")})


NETS: Mapping[str, Callable[[Size], Net]] = {
    "Equinox ResNet": resnet,
    "Equinox ViT": vit,
    "Flax NNX decoder": decoder,
    "Flax Linen conv net": conv_net,
    "function of two inputs": two_towers,
    "Equinox text encoder": text_encoder,
}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)

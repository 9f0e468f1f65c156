"""Networks for text in Equinox. Each takes one sequence of tokens; a batch is made by ``vmap``."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import nn

from _bench_converter.networks.case import Case, filled, tokens

__all__ = ["clip_text", "llama"]

VOCABULARY = 4096


class _GroupedAttention(eqx.Module):
    """Causal attention with fewer heads of keys than of queries, and rotary positions."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    rotary: nn.RotaryPositionalEmbedding
    heads: int
    groups: int

    def __init__(self, size: int, heads: int, groups: int, key: jax.Array):
        a, b, c, d = jax.random.split(key, 4)
        narrow = size // heads * groups
        self.query = nn.Linear(size, size, use_bias=False, key=a)
        self.key = nn.Linear(size, narrow, use_bias=False, key=b)
        self.value = nn.Linear(size, narrow, use_bias=False, key=c)
        self.output = nn.Linear(size, size, use_bias=False, key=d)
        self.rotary = nn.RotaryPositionalEmbedding(size // heads)
        self.heads, self.groups = heads, groups

    def __call__(self, x: jax.Array) -> jax.Array:
        length = len(x)
        q, k, v = (jax.vmap(part)(x) for part in (self.query, self.key, self.value))
        turn = jax.vmap(self.rotary, in_axes=1, out_axes=1)
        q = turn(q.reshape(length, self.heads, -1))
        k = turn(k.reshape(length, self.groups, -1))
        v = v.reshape(length, self.groups, -1)
        k, v = (jnp.repeat(part, self.heads // self.groups, axis=1) for part in (k, v))
        scores = jnp.einsum("qhd,khd->hqk", q, k) / jnp.sqrt(q.shape[-1])
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores), v)
        return jax.vmap(self.output)(mixed.reshape(length, -1))


class _LlamaBlock(eqx.Module):
    norms: list[nn.RMSNorm]
    attention: _GroupedAttention
    gate: nn.Linear
    up: nn.Linear
    down: nn.Linear

    def __init__(self, size: int, heads: int, groups: int, key: jax.Array):
        a, b, c, d = jax.random.split(key, 4)
        self.norms = [nn.RMSNorm(size, use_bias=False), nn.RMSNorm(size, use_bias=False)]
        self.attention = _GroupedAttention(size, heads, groups, a)
        self.gate = nn.Linear(size, 3 * size, use_bias=False, key=b)
        self.up = nn.Linear(size, 3 * size, use_bias=False, key=c)
        self.down = nn.Linear(3 * size, size, use_bias=False, key=d)

    def _mlp(self, x: jax.Array) -> jax.Array:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(jax.vmap(self.norms[0])(x))
        return x + jax.vmap(self._mlp)(jax.vmap(self.norms[1])(x))


class _Llama(eqx.Module):
    embedding: nn.Embedding
    blocks: list[_LlamaBlock]
    norm: nn.RMSNorm
    head: nn.Linear

    def __init__(self, size: int, heads: int, groups: int, depth: int, key: jax.Array):
        a, b, *keys = jax.random.split(key, 2 + depth)
        self.embedding = nn.Embedding(VOCABULARY, size, key=a)
        self.blocks = [_LlamaBlock(size, heads, groups, k) for k in keys]
        self.norm = nn.RMSNorm(size, use_bias=False)
        self.head = nn.Linear(size, VOCABULARY, use_bias=False, key=b)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.vmap(self.embedding)(x)
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.head)(jax.vmap(self.norm)(x))


def llama() -> Case:
    """RMSNorm, rotary positions, grouped queries, and a gate of SiLU."""
    net = filled(eqx.filter_eval_shape(_Llama, 384, 6, 2, 6, jax.random.key(0)), outputs=0)
    return Case(jax.vmap(net), (tokens(VOCABULARY, 1, 96),))


class _ClipBlock(eqx.Module):
    norms: list[nn.LayerNorm]
    attention: nn.MultiheadAttention
    inner: nn.Linear
    outer: nn.Linear

    def __init__(self, size: int, heads: int, key: jax.Array):
        a, b, c = jax.random.split(key, 3)
        biases = {f"use_{part}_bias": True for part in ("query", "key", "value", "output")}
        self.norms = [nn.LayerNorm(size), nn.LayerNorm(size)]
        self.attention = nn.MultiheadAttention(heads, size, key=a, **biases)
        self.inner = nn.Linear(size, 4 * size, key=b)
        self.outer = nn.Linear(4 * size, size, key=c)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y, mask=mask)
        y = jax.vmap(self.inner)(jax.vmap(self.norms[1])(x))
        return x + jax.vmap(self.outer)(y * jax.nn.sigmoid(1.702 * y))


class _ClipText(eqx.Module):
    embedding: nn.Embedding
    places: jax.Array
    blocks: list[_ClipBlock]
    norm: nn.LayerNorm
    projection: jax.Array

    def __init__(self, size: int, heads: int, depth: int, length: int, key: jax.Array):
        a, b, c, *keys = jax.random.split(key, 3 + depth)
        self.embedding = nn.Embedding(VOCABULARY, size, key=a)
        self.places = 0.1 * jax.random.normal(b, (length, size))
        self.blocks = [_ClipBlock(size, heads, k) for k in keys]
        self.norm = nn.LayerNorm(size)
        self.projection = jax.random.normal(c, (size, size)) / jnp.sqrt(size)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.vmap(self.embedding)(x) + self.places
        mask = jnp.tril(jnp.ones((len(x), len(x)), bool))
        for block in self.blocks:
            y = block(y, mask)
        features = self.norm(y[jnp.argmax(x)]) @ self.projection
        return features / jnp.linalg.norm(features)


def clip_text() -> Case:
    """The text tower of CLIP: causal, its own approximation of GELU, the features of the last token."""
    net = filled(eqx.filter_eval_shape(_ClipText, 256, 4, 8, 77, jax.random.key(0)), outputs=0)
    return Case(jax.vmap(net), (tokens(VOCABULARY, 2, 77),))

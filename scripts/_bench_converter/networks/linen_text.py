"""Networks for text and sequences in Flax Linen."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from _bench_converter.networks.case import Case, filled, noise, tokens

__all__ = ["bert", "bilstm", "t5"]

VOCABULARY = 4096


class _BertLayer(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        width = x.shape[-1]
        y = nn.MultiHeadDotProductAttention(self.heads)(x, mask=mask)
        x = nn.LayerNorm(epsilon=1e-12)(x + y)
        y = nn.Dense(width)(nn.gelu(nn.Dense(4 * width)(x), approximate=False))
        return nn.LayerNorm(epsilon=1e-12)(x + y)


class _Bert(nn.Module):
    width: int
    heads: int
    depth: int

    @nn.compact
    def __call__(self, words: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = nn.Embed(VOCABULARY, self.width)(words)
        x = x + nn.Embed(512, self.width)(jnp.arange(words.shape[1])[None])
        x = nn.LayerNorm(epsilon=1e-12)(x + nn.Embed(2, self.width)(jnp.zeros_like(words)))
        pairs = nn.make_attention_mask(mask > 0, mask > 0)
        for _ in range(self.depth):
            x = _BertLayer(self.heads)(x, pairs)
        return x, nn.tanh(nn.Dense(self.width)(x[:, 0]))


def bert() -> Case:
    """An encoder with a mask of padding and exact GELU."""
    net, words = _Bert(256, 4, 8), tokens(VOCABULARY, 2, 96)
    mask = (np.arange(96) < np.array([[96], [61]])).astype(np.int32)
    weights = filled(jax.eval_shape(net.init, jax.random.key(0), words, mask))
    return Case(lambda words, mask: net.apply(weights, words, mask), (words, mask))


class _T5Norm(nn.Module):
    """RMSNorm, as T5 writes it."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6) * scale


class _T5Attention(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array, bias: jax.Array | None) -> jax.Array:
        width = x.shape[-1]
        shape = (self.heads, width // self.heads)
        q = nn.DenseGeneral(shape, use_bias=False, name="query")(x)
        k = nn.DenseGeneral(shape, use_bias=False, name="key")(context)
        v = nn.DenseGeneral(shape, use_bias=False, name="value")(context)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)  # unscaled: T5's initial weights are
        scores = scores if bias is None else scores + bias
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
        return nn.DenseGeneral(width, axis=(-2, -1), use_bias=False, name="out")(mixed)


class _Bias(nn.Module):
    """Biases by relative position, in buckets that widen with the distance."""

    heads: int
    causal: bool

    @nn.compact
    def __call__(self, length: int) -> jax.Array:
        places = np.arange(length)
        distance = places[:, None] - places[None, :]
        buckets = np.minimum(np.log2(np.abs(distance) + 1) * 2, 15).astype(np.int32)
        buckets = np.where(distance < 0, 0 if self.causal else buckets + 16, buckets)
        bias = nn.Embed(32, self.heads)(jnp.asarray(buckets)).transpose(2, 0, 1)[None]
        return jnp.where(jnp.asarray(distance >= 0), bias, -1e9) if self.causal else bias


class _T5Block(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array, context: jax.Array | None = None) -> jax.Array:
        width = x.shape[-1]
        y = _T5Norm()(x)
        x = x + _T5Attention(self.heads)(y, y, bias)
        if context is not None:
            x = x + _T5Attention(self.heads)(_T5Norm()(x), context, None)
        y = _T5Norm()(x)
        gate = nn.gelu(nn.Dense(2 * width, use_bias=False)(y))
        return x + nn.Dense(width, use_bias=False)(gate * nn.Dense(2 * width, use_bias=False)(y))


class _T5(nn.Module):
    width: int
    heads: int
    depth: int

    @nn.compact
    def __call__(self, words: jax.Array, answer: jax.Array) -> jax.Array:
        embed = nn.Embed(VOCABULARY, self.width)
        x, y = embed(words), embed(answer)
        bias = _Bias(self.heads, causal=False)(words.shape[1])
        for _ in range(self.depth):
            x = _T5Block(self.heads)(x, bias)
        x = _T5Norm()(x)
        bias = _Bias(self.heads, causal=True)(answer.shape[1])
        for _ in range(self.depth):
            y = _T5Block(self.heads)(y, bias, x)
        return embed.attend(_T5Norm()(y) * self.width**-0.5)


def t5() -> Case:
    """Encoder and decoder, biases by relative position, gated GELU."""
    net, words, answer = _T5(256, 4, 4), tokens(VOCABULARY, 1, 96), tokens(VOCABULARY, 1, 32)
    weights = filled(jax.eval_shape(net.init, jax.random.key(0), words, answer))
    return Case(lambda words, answer: net.apply(weights, words, answer), (words, answer))


class _BiLstm(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        for _ in range(2):
            there, back = nn.RNN(nn.OptimizedLSTMCell(96)), nn.RNN(nn.OptimizedLSTMCell(96))
            x = jnp.asarray(nn.Bidirectional(there, back)(x, seq_lengths=lengths))
        return nn.Dense(20)(x)


def bilstm() -> Case:
    """Two bidirectional layers over sequences of different lengths."""
    net, x, lengths = _BiLstm(), noise(8, 100, 64), np.array([100, 90, 77, 64, 51, 33, 20, 5], np.int32)
    weights = filled(jax.eval_shape(net.init, jax.random.key(0), x, lengths))
    return Case(lambda x, lengths: net.apply(weights, x, lengths), (x, lengths))

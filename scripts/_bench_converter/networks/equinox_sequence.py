"""Networks for sequences of numbers in Equinox. Each takes one sequence; a batch is made by ``vmap``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import nn

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["gru", "mamba", "s5"]


def _filled(make: Callable[..., Any], *sizes: int) -> Any:
    return filled(eqx.filter_eval_shape(make, *sizes, key=jax.random.key(0)), outputs=0)


def gru() -> Case:
    """A cell in a scan, and a layer on each of its states."""
    cell = _filled(nn.GRUCell, 64, 128)
    head = _filled(nn.Linear, 128, 32)

    def net(x: jax.Array) -> jax.Array:
        def step(state: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = cell(inputs, state)
            return state, head(state)

        return jax.lax.scan(step, jnp.zeros(128), x)[1]

    return Case(jax.vmap(net), (noise(8, 200, 64),))


class _Selective(eqx.Module):
    """A block of Mamba: the recurrence is an associative scan."""

    norm: nn.RMSNorm
    enter: nn.Linear
    conv: nn.Conv1d
    select: nn.Linear
    widen: nn.Linear
    rates: jax.Array
    skip: jax.Array
    leave: nn.Linear
    rank: int
    states: int

    def __init__(self, size: int, states: int, rank: int, key: jax.Array):
        a, b, c, d, e = jax.random.split(key, 5)
        inner = 2 * size
        self.norm = nn.RMSNorm(size, use_bias=False)
        self.enter = nn.Linear(size, 2 * inner, use_bias=False, key=a)
        self.conv = nn.Conv1d(inner, inner, 4, padding=[(3, 0)], groups=inner, key=b)
        self.select = nn.Linear(inner, rank + 2 * states, use_bias=False, key=c)
        self.widen = nn.Linear(rank, inner, key=d)
        self.rates = jnp.log(jnp.tile(jnp.arange(1.0, states + 1), (inner, 1)))
        self.skip = jnp.ones(inner)
        self.leave = nn.Linear(inner, size, use_bias=False, key=e)
        self.rank, self.states = rank, states

    def __call__(self, x: jax.Array) -> jax.Array:
        inner, gate = jnp.split(jax.vmap(self.enter)(jax.vmap(self.norm)(x)), 2, axis=-1)
        inner = jax.nn.silu(self.conv(inner.T).T)
        step, write, read = jnp.split(jax.vmap(self.select)(inner), [self.rank, self.rank + self.states], axis=-1)
        step = jax.nn.softplus(jax.vmap(self.widen)(step))
        decay = jnp.exp(-jnp.exp(self.rates) * step[..., None])
        added = (step * inner)[..., None] * write[:, None, :]
        _, states = jax.lax.associative_scan(
            lambda left, right: (left[0] * right[0], right[0] * left[1] + right[1]), (decay, added)
        )
        y = jnp.einsum("lds,ls->ld", states, read) + self.skip * inner
        return x + jax.vmap(self.leave)(y * jax.nn.silu(gate))


def mamba() -> Case:
    """Selective state spaces."""
    blocks = [_filled(_Selective, 128, 16, 8) for _ in range(4)]

    def net(x: jax.Array) -> jax.Array:
        for block in blocks:
            x = block(x)
        return x

    return Case(jax.vmap(net), (noise(1, 96, 128),))


class _Diagonal(eqx.Module):
    """A layer of S5: a diagonal recurrence of complex numbers, as an associative scan."""

    norm: nn.LayerNorm
    decay: jax.Array
    angle: jax.Array
    enter: jax.Array
    leave: jax.Array
    skip: jax.Array
    gate: nn.Linear

    def __init__(self, size: int, states: int, key: jax.Array):
        a, b, c, d, e = jax.random.split(key, 5)
        self.norm = nn.LayerNorm(size)
        self.decay = jax.random.normal(a, (states,))
        self.angle = jax.random.normal(b, (states,))
        self.enter = jax.random.normal(c, (2, states, size)) / jnp.sqrt(2 * size)
        self.leave = jax.random.normal(d, (2, size, states)) / jnp.sqrt(states)
        self.skip = jnp.ones(size)
        self.gate = nn.Linear(size, size, key=e)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.vmap(self.norm)(x)
        rates = jnp.exp(jax.lax.complex(-jnp.exp(self.decay - 2), self.angle + jnp.linspace(0, 3, len(self.angle))))
        added = y @ jax.lax.complex(self.enter[0], self.enter[1]).T
        factors = jnp.broadcast_to(rates, added.shape)
        _, states = jax.lax.associative_scan(
            lambda left, right: (left[0] * right[0], right[0] * left[1] + right[1]), (factors, added)
        )
        y = (states @ jax.lax.complex(self.leave[0], self.leave[1]).T).real + self.skip * y
        y = jax.nn.gelu(y)
        return x + y * jax.nn.sigmoid(jax.vmap(self.gate)(y))


def s5() -> Case:
    """State spaces with complex numbers."""
    layers = [_filled(_Diagonal, 128, 64) for _ in range(4)]

    def net(x: jax.Array) -> jax.Array:
        for layer in layers:
            x = layer(x)
        return x.mean(0)

    return Case(jax.vmap(net), (noise(2, 256, 128),))

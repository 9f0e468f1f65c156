"""Networks for graphs: sums of edges by their nodes."""

from __future__ import annotations

from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["gat", "message_passing"]

NODES, EDGES = 4000, 24000


def _edges(nodes: int, edges: int) -> tuple[np.ndarray, np.ndarray]:
    """Senders and receivers of random edges."""
    ends = np.random.default_rng(2).integers(0, nodes, (2, edges)).astype(np.int32)
    return ends[0], ends[1]


def gat() -> Case:
    """Graph attention over three layers, in plain JAX."""
    widths, heads = (64, 64, 64, 16), 4

    def layer(inside: int, outside: int, seed: jax.Array) -> dict[str, jax.Array]:
        a, b, c = jax.random.split(seed, 3)
        return {
            "weight": jax.random.normal(a, (inside, heads, outside // heads)) / jnp.sqrt(inside),
            "sender": jax.random.normal(b, (heads, outside // heads)),
            "receiver": jax.random.normal(c, (heads, outside // heads)),
            "bias": jnp.zeros(outside),
        }

    pairs = list(pairwise(widths))
    layers = filled(jax.eval_shape(lambda key: [layer(*pair, key) for pair in pairs], jax.random.key(0)))

    def net(x: jax.Array, senders: jax.Array, receivers: jax.Array) -> jax.Array:
        for weights in layers:
            y = jnp.einsum("ni,iho->nho", x, weights["weight"])
            scores = (y * weights["sender"]).sum(-1)[senders] + (y * weights["receiver"]).sum(-1)[receivers]
            scores = jax.nn.leaky_relu(scores, 0.2)
            largest = jax.ops.segment_max(scores, receivers, len(x))
            shares = jnp.exp(scores - largest[receivers])
            total = jax.ops.segment_sum(shares, receivers, len(x))
            shares = shares / (total[receivers] + 1e-9)
            y = jax.ops.segment_sum(shares[..., None] * y[senders], receivers, len(x))
            x = jax.nn.elu(y.reshape(len(x), -1) + weights["bias"])
        return jax.nn.log_softmax(x)

    return Case(net, (noise(NODES, widths[0]), *_edges(NODES, EDGES)))


class _Messages(nn.Module):
    """Messages along edges, then a step of a GRU at each node, then a sum for each graph."""

    width: int
    steps: int
    graphs: int

    @nn.compact
    def __call__(
        self, x: jax.Array, bonds: jax.Array, senders: jax.Array, receivers: jax.Array, owner: jax.Array
    ) -> jax.Array:
        x = nn.relu(nn.Dense(self.width)(x))
        for _ in range(self.steps):
            edge = jnp.concatenate([x[senders], x[receivers], bonds], axis=-1)
            message = nn.Dense(self.width)(nn.silu(nn.Dense(self.width)(edge)))
            incoming = jax.ops.segment_sum(message, receivers, len(x))
            x, _ = nn.GRUCell(self.width)(x, incoming)
        gate = nn.sigmoid(nn.Dense(self.width)(x))
        return nn.Dense(1)(jax.ops.segment_sum(gate * x, owner, self.graphs))


def message_passing() -> Case:
    """Properties of molecules from their atoms and bonds."""
    atoms, bonds, graphs = 1000, 4000, 40
    net = _Messages(64, 4, graphs)
    owner = np.sort(np.random.default_rng(3).integers(0, graphs, atoms)).astype(np.int32)
    arguments = (noise(atoms, 32), noise(bonds, 8), *_edges(atoms, bonds), owner)
    weights = filled(jax.eval_shape(net.init, jax.random.key(0), *arguments))
    return Case(lambda *given: net.apply(weights, *given), arguments)

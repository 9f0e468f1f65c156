"""``scripts/bench_cpu``: artifacts of this project and of others against ``jax.jit`` of the plain forward, on a CPU."""

"""``scripts/bench_cpu``: our artifacts and those of others against ``jax.jit`` of the plain forward, on a CPU."""

"""Benchmarks of artifacts: latency, throughput, memory and energy, in every runtime and beside each other."""

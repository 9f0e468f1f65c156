"""Adapters of the runtimes, each run in a separate process. Light to import; each adapter imports its runtime."""

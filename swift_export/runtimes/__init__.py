"""One adapter a runtime, each in a process of its own; light to import, an adapter brings its runtime."""

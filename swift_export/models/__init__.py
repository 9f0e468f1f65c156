"""Models: what is exported. Only this package knows a model in particular."""

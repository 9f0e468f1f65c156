"""From a model to files: one StableHLO module, and what is made of it."""

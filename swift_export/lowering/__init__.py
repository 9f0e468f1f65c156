"""From a model to files: one StableHLO module, and the formats made from it."""

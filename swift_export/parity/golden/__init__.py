"""Golden outputs and the quick check against them."""

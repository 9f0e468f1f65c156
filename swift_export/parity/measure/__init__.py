"""Running artifacts and the reference on the same inputs, and measuring the difference."""

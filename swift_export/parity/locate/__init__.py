"""Finding the first layer that differs, by values from inside artifacts and the reference."""

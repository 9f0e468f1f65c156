"""What every other part may ask of the operating system: files put in place whole, and locks between processes."""

"""What every room stands on: files, processes, signals, text."""

"""The base of all other packages: files, processes, signals, text."""

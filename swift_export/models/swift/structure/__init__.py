"""Structural checks of SwiFT: settings that features cannot show are read from the graphs of exported files."""

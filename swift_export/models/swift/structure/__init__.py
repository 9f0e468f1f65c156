"""Structural checks of SwiFT: reads settings that features cannot show from the graphs of exported files."""

"""Rewrites StableHLO modules with complex numbers in terms of their real and imaginary parts.

The converter's rules then see only real tensors. A function's complex arguments and results become two each.
"""

from swift_export.converter.complex_pairs.rewriting import Complex, split_complex
from swift_export.converter.complex_pairs.values import is_complex

__all__ = ["Complex", "is_complex", "split_complex"]

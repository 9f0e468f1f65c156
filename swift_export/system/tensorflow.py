"""TensorFlow, which is optional."""

from __future__ import annotations

import os
from typing import Any

from swift_export.errors import UsageError

__all__ = ["import_tensorflow"]


def import_tensorflow() -> Any:
    """TensorFlow, or the line that names the extra which brings it."""
    # Two lines about oneDNN at start-up are nobody's concern where nothing is computed. Only this import is told so:
    # a check's own TensorFlow runs as users run it.
    option = "TF_ENABLE_ONEDNN_OPTS"
    asked = os.environ.get(option)
    os.environ.setdefault(option, "0")
    try:
        import tensorflow
    except ImportError:
        raise UsageError(
            "TensorFlow is not installed: install the extra, pip install 'swift-export[savedmodel]'"
        ) from None
    finally:
        if asked is None:
            del os.environ[option]
    return tensorflow

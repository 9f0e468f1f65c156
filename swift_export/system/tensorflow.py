"""The optional import of TensorFlow."""

from __future__ import annotations

import os
from typing import Any

from swift_export.errors import UsageError

__all__ = ["import_tensorflow"]


def import_tensorflow() -> Any:
    """Import TensorFlow; raises UsageError with the extra to install if it is missing."""
    # This suppresses two lines about oneDNN, which matter only for computation. The setting is restored, because a
    # check runs TensorFlow with the settings of the user.
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

"""The optional import of TensorFlow, and helpers for its functions."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

from swift_export.errors import UsageError

__all__ = ["import_tensorflow", "named_parameters"]


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


def named_parameters(function: Callable[..., Any], names: Sequence[str]) -> None:
    """Give a function of arrays parameters of these names, which ``tf.function`` reads from its signature.

    Names that are not Python identifiers, such as ``batch.image``, come from the specification of the input.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name if name.isidentifier() else f"input{i}", kind) for i, name in enumerate(names)]
    )

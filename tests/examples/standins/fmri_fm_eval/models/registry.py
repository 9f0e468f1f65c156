"""Where models of fmri-fm-eval register, and where it looks for plugins: in the namespace package of models."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import fmri_fm_eval.models

MODELS: dict[str, Callable[..., Any]] = {}


def register_model(function: Callable[..., Any]) -> Callable[..., Any]:
    MODELS[function.__name__] = function
    return function


def plugins() -> list[str]:
    found = [name for _, name, _ in pkgutil.iter_modules(fmri_fm_eval.models.__path__)]
    for name in found:
        importlib.import_module(f"fmri_fm_eval.models.{name}")
    return found

"""PyTorch's own forward pass as a row: in float32, TF32 or by autocast, eager or compiled."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from _torch_swift import TorchSwiFT

from swift_export.models.swift.config import SwiFTConfig
from swift_export.runtimes.base import Arrays, Computation, InputSpec, RuntimeInfo, absent_gpu, check_inputs

__all__ = ["TorchSession"]


class TorchSession:
    """The forward pass on one device; ``compiled`` by ``torch.compile``, for every shape anew."""

    def __init__(self, config: SwiFTConfig, tensors: Mapping[str, Any], precision: str, device: str, *, compiled: bool):
        if device == "gpu" and not torch.cuda.is_available():
            raise absent_gpu(f"PyTorch {torch.__version__}", "a CPU")
        self._device = "cuda" if device == "gpu" else "cpu"
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        self._half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)
        forward = TorchSwiFT(config, tensors, self._device)
        self._forward: Any = torch.compile(forward.__call__, dynamic=False, fullgraph=True) if compiled else forward
        self.inputs: tuple[InputSpec, ...] = (InputSpec("bold", "float32", (None, *config.input_shape())),)
        self.info = RuntimeInfo(
            name="torch.compile" if compiled else "PyTorch",
            version=torch.__version__,
            device=torch.cuda.get_device_name() if device == "gpu" else "cpu",
            arithmetic=precision,
            settings={"autocast": precision} if self._half else {"TF32": "on" if precision == "tf32" else "off"},
            providers=(self._device,),
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        check_inputs(self.inputs, inputs, self.info.name)
        features = self._run(torch.from_numpy(inputs["bold"]).to(self._device))
        return {"features": features.float().cpu().numpy()}

    def place(self, inputs: Arrays) -> Computation:
        """Copy the clips to the device."""
        bold = torch.from_numpy(inputs["bold"]).to(self._device)

        def compute() -> None:
            self._run(bold)
            if self._device == "cuda":
                torch.cuda.synchronize()

        return compute

    def _run(self, bold: Any) -> Any:
        cast = torch.autocast(self._device, self._half) if self._half else nullcontext()
        with torch.inference_mode(), cast:
            return self._forward(bold)

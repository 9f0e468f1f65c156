"""Compute the input of a layout in ONNX Runtime, and compare: needs only NumPy and onnxruntime.

python python_onnxruntime.py layout/
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

folder = Path(sys.argv[1])
test = json.loads((folder / "layout.json").read_text())["smoke_test"]


def read(tensor):
    """One of the recorded arrays."""
    return np.fromfile(folder / tensor["file"], tensor["dtype"]).reshape(tensor["shape"])


path = folder / "models" / test["model"] / "1" / "model.onnx"
session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
names = [tensor["name"] for tensor in test["outputs"]]
found = session.run(names, {tensor["name"]: read(tensor) for tensor in test["inputs"]})

agreed = True
for tensor, array in zip(test["outputs"], found, strict=True):
    expected = read(tensor)
    if expected.dtype.kind in "biu":
        right = array.dtype == expected.dtype and np.array_equal(array, expected)
        print(f"{tensor['name']}: {'equal' if right else 'different'}")
    else:
        error = np.linalg.norm(array.astype(float) - expected) / (np.linalg.norm(expected.astype(float)) or 1)
        right = array.shape == expected.shape and error <= test["relative_l2"]
        print(f"{tensor['name']}: relative L2 {error:.2g}, allowed {test['relative_l2']:g}")
    agreed &= bool(right)
print("agrees" if agreed else "does not agree", "with the outputs of", test["computed_by"])
sys.exit(not agreed)

"""How ``torch.mlir`` and ``torch.npz`` were made, with torch 2.13.0, torchax 0.0.13 and jax 0.10.2:

    python make_torch.py

Attention over an embedding, of an unknown batch. PyTorch computes the outputs; torchax lowers the exported
program, whose weights become arguments. Locations are left out, for they hold paths of the machine, and so are the
long messages of assertions.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch._ops import OpOverloadPacket

FOLDER = Path(__file__).parent
KNOWN = OpOverloadPacket.__getattr__


def overload(packet: OpOverloadPacket, key: str) -> object:
    """torchax 0.0.13 lists overloads by named dimensions, which torch 2.13 has no more."""
    try:
        return KNOWN(packet, key)
    except AttributeError:
        if "name" not in key:
            raise
        return f"{packet}.{key}"


class Block(nn.Module):
    """Embedding, attention of the tokens to each other, and the most likely class."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, tokens: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (batch, 6) and biases (batch, 6, 8) to probabilities (batch, 5) and classes (batch,)."""
        x = self.table(tokens) + bias
        x = x + torch.softmax(x @ x.transpose(-1, -2) * 0.5, -1) @ x
        probabilities = torch.softmax(self.head(nn.functional.silu(x)).mean(1), -1)
        return probabilities, probabilities.argmax(-1)


def main() -> None:
    """Write both files."""
    OpOverloadPacket.__getattr__ = overload
    from torchax.export import exported_program_to_stablehlo

    torch.manual_seed(0)
    block = Block().eval()
    tokens, bias = torch.randint(0, 11, (3, 6)), torch.randn(3, 6, 8)
    batch = torch.export.Dim("batch")
    program = torch.export.export(block, (tokens, bias), dynamic_shapes=({0: batch}, {0: batch}))
    weights, exported = exported_program_to_stablehlo(program)
    from jax.extend.mlir import deserialize_portable_artifact, ir

    module = deserialize_portable_artifact(exported.mlir_module_serialized, ir.Context())
    text = module.operation.get_asm(enable_debug_info=False)
    (FOLDER / "torch.mlir").write_text(re.sub(r'error_message = "[^"]*"', 'error_message = "other sizes"', text))
    with torch.no_grad():
        outputs = block(tokens, bias)
    arrays = [*(np.asarray(weight) for weight in weights), tokens.numpy(), bias.numpy()]
    # As jax has them: integers of 32 bits.
    kept = [arrays[i].astype(exported.in_avals[i].dtype) for i in exported.module_kept_var_idx]
    results = [array.numpy().astype(aval.dtype) for array, aval in zip(outputs, exported.out_avals, strict=True)]
    np.savez_compressed(
        FOLDER / "torch.npz",
        **{f"input{i}": array for i, array in enumerate(kept)},
        **{f"output{i}": array for i, array in enumerate(results)},
    )


if __name__ == "__main__":
    main()

"""What a model of fmri-fm-eval gives."""

from typing import Any, NamedTuple


class Embeddings(NamedTuple):
    cls_embeds: Any
    reg_embeds: Any
    patch_embeds: Any

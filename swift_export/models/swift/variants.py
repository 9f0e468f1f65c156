"""The published models: architecture, source of the weights, licence, citation, input contract."""

from __future__ import annotations

from dataclasses import dataclass

from swift_export.errors import UsageError
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.head_facts import HeadFacts
from swift_export.scans.contract import InputContract, contract_of

__all__ = ["CITATION", "CUSTOM", "LICENCE", "TINY", "UPSTREAM", "VARIANTS", "Variant", "find_variant"]

#: Name of a model with weights given without ``--variant``.
CUSTOM = "custom"

LICENCE = "Apache-2.0"
COPYRIGHT = "Copyright 2023 Transconnectome, Seoul National University"
CITATION = (
    "Kim, P. Y., Kwon, J., Joo, S., Bae, S., Lee, D., Jung, Y., Yoo, S., Cha, J., Moon, T. "
    "SwiFT: Swin 4D fMRI Transformer. NeurIPS 2023. arXiv:2307.05916"
)


#: Every part of the architecture, at a size that a CPU checks in seconds: for trials.
TINY = SwiFTConfig(
    img_size=(24, 24, 24, 6),
    in_chans=1,
    embed_dim=12,
    window_size=(2, 2, 2, 4),
    first_window_size=(2, 2, 2, 2),
    patch_size=(6, 6, 6, 1),
    depths=(2, 2),
    num_heads=(1, 2),
    c_multiplier=2,
    last_layer_full_MSA=False,
)


@dataclass(frozen=True)
class Upstream:
    """The pinned commit of the authors' repository that holds the published checkpoints."""

    repository: str
    commit: str

    def url(self, path: str) -> str:
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{path}"


UPSTREAM = Upstream("Transconnectome/SwiFT", "0b07cb156d77a7de33078c8f6fe3ddffa7b5ae9c")


@dataclass(frozen=True)
class Variant:
    """One published model.

    ``git_blob`` (SHA-1 over ``blob <size>\\0`` + content) identifies the published file. ``sha256`` and ``size``, if
    known, are a second, independent check. ``placement`` is that of its training data, for the reason
    ``placed_because``. ``head`` is what its head predicts, None if it has no head.
    """

    name: str
    summary: str
    config: SwiFTConfig
    path: str
    git_blob: str
    sha256: str | None = None
    size: int | None = None
    hub_id: str | None = None
    placement: str = "ukb"
    placed_because: str = ""
    head: HeadFacts | None = None

    @property
    def contract(self) -> InputContract:
        """The preparation of scans for this model, unless the checkpoint states another one."""
        return contract_of(None, 1, self.placement, self.placed_because)


_PUBLISHED = SwiFTConfig(
    img_size=(96, 96, 96, 20),
    in_chans=1,
    embed_dim=36,
    window_size=(4, 4, 4, 4),
    first_window_size=(4, 4, 4, 4),
    patch_size=(6, 6, 6, 1),
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    c_multiplier=2,
    last_layer_full_MSA=True,
)

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            name="contrastive",
            summary="self-supervised contrastive pre-training",
            config=_PUBLISHED,
            path="pretrained_models/contrastive_pretrained.ckpt",
            git_blob="b7a2ef4021d61e07e7874a8c0e783b79459d5ee3",
            sha256="5922c84b31b4e59de1c26ed4839689234ce401216f5a2a4fbbf6a4d5940cce3e",
            size=52_998_337,
            hub_id="ilex-hub/swift.contrastive.1",
            placement="ukb",
            placed_because="contrastive was trained on HCP, UK Biobank and ABCD; ukb as fmri-fm-eval feeds it",
        ),
        Variant(
            name="hcp-sex",
            summary="sex classification, trained on HCP",
            config=_PUBLISHED,
            path="pretrained_models/hcp_sex_classification.ckpt",
            git_blob="6e643c67ccfd0be73b336361f505bc9b27fe336c",
            placement="hcp",
            placed_because="hcp-sex was trained on HCP",
            head=HeadFacts("classification", "sex", ("F", "M")),
        ),
    )
}


def find_variant(name: str) -> Variant:
    """The published variant with this name; raises UsageError for any other name."""
    if name not in VARIANTS:
        raise UsageError(f"--variant {name}: expected one of {', '.join(VARIANTS)}")
    return VARIANTS[name]

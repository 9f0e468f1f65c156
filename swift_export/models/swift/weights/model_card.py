"""The model card of a bundle."""

from __future__ import annotations

from swift_export.models.swift.head import Head
from swift_export.models.swift.variants import CITATION, CUSTOM, LICENCE, UPSTREAM, VARIANTS
from swift_export.models.swift.weights.weights import Weights
from swift_export.system.text import listed, shown

__all__ = ["model_card"]


def model_card(weights: Weights, head: Head | None = None) -> str:
    """Markdown with the front matter for the Hugging Face hub.

    Only weights of a published variant carry its licence. The licence of other weights is up to their author.
    """
    origin, config = weights.provenance.keeping(head.tensors if head else ()), weights.config
    title = "SwiFT" if weights.variant == CUSTOM else f"SwiFT, {weights.variant}"
    summary = VARIANTS[weights.variant].summary if weights.variant in VARIANTS else "custom weights"
    rows = "\n".join(f"| `{name}` | `{value}` |" for name, value in config.to_dict().items())
    source = [f"- kind: {origin.kind}", f"- name: {shown(origin.name)}"]
    source += [f"- sha256 of that file: `{origin.sha256}`"] if origin.sha256 else []
    source += [f"- git blob id of that file: `{origin.git_blob}`"] if origin.git_blob else []
    source += (
        [f"- published at {UPSTREAM.repository}, commit `{UPSTREAM.commit}`"] if origin.kind == "published" else []
    )
    source += (
        [f"- assumed, because missing from the file: {listed(map(shown, origin.assumed))}"] if origin.assumed else []
    )
    source += [f"- left out: {listed(map(shown, origin.dropped))}"] if origin.dropped else []
    source += [f"- {shown(note, 400)}" for note in origin.notes]
    warning = (
        f"**Synthetic weights** (seed {origin.seed}): random and untrained. Their features mean nothing.\n\n"
        if origin.synthetic
        else ""
    )
    included = "Heads are not included." if head is None else f"With its head `{head.name}`: {head.facts.text}."
    published = weights.variant != CUSTOM
    licence = LICENCE if published else "The author of these weights determines their licence"
    return f"""---
license: {LICENCE.lower() if published else "other"}
tags:
- fmri
- neuroimaging
- swift
---

# {title}

{warning}Backbone of SwiFT, the 4D Swin transformer for fMRI: {summary}. {included}

Input: one clip, `{config.input_shape()}`. Output: its features, `{config.output_shape()}`. Both are float32.

Preparation: {shown(weights.contract.text, 1000)}.

## Architecture

| setting | value |
|---|---|
{rows}

## Provenance

{chr(10).join(source)}
- digest of the tensors: `{weights.digest}`

## Licence and citation

{licence}. Please cite:

> {CITATION}
"""

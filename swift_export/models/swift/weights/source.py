"""Loads weights from the source that a user names."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from swift_export.errors import UsageError, WeightsError
from swift_export.formats.checkpoint.reading import read_checkpoint
from swift_export.models.swift.head_facts import HeadFacts
from swift_export.models.swift.variants import CUSTOM, VARIANTS, Variant, find_variant
from swift_export.models.swift.weights.architecture import read_training, resolve_architecture
from swift_export.models.swift.weights.bundle import Bundle, read_bundle
from swift_export.models.swift.weights.download import published_file
from swift_export.models.swift.weights.file_digests import file_digests
from swift_export.models.swift.weights.hub import HubBundle, fetch_bundle, is_hub_id
from swift_export.models.swift.weights.mapping import TensorInFile, map_state
from swift_export.models.swift.weights.network import UnreachableError
from swift_export.models.swift.weights.own_head import head_facts, read_head
from swift_export.models.swift.weights.synthetic import synthetic_weights
from swift_export.models.swift.weights.weights import Provenance, Weights
from swift_export.system.folders import restored
from swift_export.system.text import shown

__all__ = ["load_weights"]

#: Seconds after which ``auto`` gives up without an answer from a server.
AUTO_SECONDS = 3.5

_SYNTHETIC = re.compile(r"synthetic(?::(\d{1,20}))?")


def load_weights(source: str | Path = "auto", *, variant: str | None = None, quiet: bool = True) -> Weights:
    """Load the weights of one backbone.

    Args:
        source: ``auto`` (the published file of ``variant``: cache, upstream, hub), the name of a published variant
            (the same, for that variant), ``synthetic`` or ``synthetic:SEED``, a ``.ckpt``, the folder or
            ``.safetensors`` file of a bundle, or a hub id ``owner/name``. A ``Path`` is always a path. In text, these
            words have priority, so write ``./contrastive`` for a folder with that name.
        variant: the published model that these weights must be. It supplies missing hyper-parameters, recorded as
            ``provenance.assumed``; differing ones are an error. Without it, the model is named ``custom``.
        quiet: show no progress, which appears only on terminals.

    Raises:
        WeightsError: the file is unreadable, unsafe, incomplete or foreign; or without a network, there is no copy.
        ArchitectureError: the hyper-parameters do not describe a backbone.
        UsageError: the variant or the source is unknown.
        MachineError: the disk is full.

    """
    wanted = None if variant is None else find_variant(variant)
    if isinstance(source, str):
        if source in VARIANTS:
            if variant is not None and variant != source:
                raise UsageError(f"--variant {variant}: expected the variant of the weights, found --weights {source}")
            source, wanted = "auto", VARIANTS[source]
        if source == "auto":
            return _published(wanted, quiet)
        if source.partition(":")[0] == "synthetic":
            return _synthetic(source, wanted)
    path = Path(source).expanduser()
    _restore(path)
    if path.is_dir() or (path.is_file() and path.suffix == ".safetensors"):
        return _from_bundle(read_bundle(path), wanted, Provenance("bundle", path.resolve().name))
    if path.exists():
        return _from_checkpoint(path, wanted)
    if isinstance(source, str) and is_hub_id(source):
        try:
            return _from_hub(fetch_bundle(source, quiet=quiet), source, wanted)
        except UnreachableError as error:
            raise WeightsError(f"--weights {source}: no such file or folder, and as a hub id: {error}") from None
    raise WeightsError(
        f"--weights {shown(source, 4096)}: no such file or folder; expected a .ckpt, a bundle folder, a hub id "
        f"owner/name, synthetic[:SEED], auto or one of {', '.join(VARIANTS)}"
    )


def _restore(path: Path) -> None:
    """Finish an interrupted replacement of a bundle."""
    try:
        restored(path)
    except OSError as error:
        raise WeightsError(
            f"{shown(path, 4096)}: a process was killed while it replaced this bundle, and the old one cannot be "
            f"restored ({error.strerror}); make {shown(path.parent, 4096)} writable"
        ) from None


def _synthetic(source: str, variant: Variant | None) -> Weights:
    match = _SYNTHETIC.fullmatch(source)
    if match is None:
        raise UsageError(
            f"--weights {shown(source)}: expected synthetic or synthetic:SEED with a seed from 0 to 2**64 - 1"
        )
    name, config = (CUSTOM, _default().config) if variant is None else (variant.name, variant.config)
    return synthetic_weights(config, int(match[1] or 0), name)


def _default() -> Variant:
    return next(iter(VARIANTS.values()))


def _published(variant: Variant | None, quiet: bool) -> Weights:
    if variant is None:
        raise UsageError(f"--weights auto: expected --variant with one of {', '.join(VARIANTS)}")
    start = time.monotonic()
    try:
        return _from_checkpoint(published_file(variant, quiet=quiet), variant)
    except UnreachableError as error:
        reasons = [str(error)]
    if variant.hub_id is not None:
        try:
            bundle = fetch_bundle(variant.hub_id, seconds=AUTO_SECONDS - (time.monotonic() - start), quiet=quiet)
        except WeightsError as error:
            reasons.append(str(error))
        else:
            return _from_hub(bundle, variant.hub_id, variant)
    raise WeightsError(
        f"--weights auto: {Path(variant.path).name} is not in the cache and cannot be downloaded "
        f"({'; '.join(reasons)}); give --weights PATH (a .ckpt or a bundle folder) or --weights synthetic"
    )


def _from_checkpoint(path: Path, variant: Variant | None) -> Weights:
    checkpoint = read_checkpoint(path)
    digests = file_digests(path)
    published = next((v.name for v in VARIANTS.values() if v.git_blob == digests.git_blob), None)
    if variant is not None and published not in (None, variant.name):
        raise WeightsError(f"{shown(path, 4096)}: expected {variant.name}, found the published file of {published}")
    provenance = Provenance(
        kind="checkpoint" if published is None else "published",
        name=shown(path.name),
        sha256=digests.sha256,
        git_blob=digests.git_blob,
    )
    weights = _assemble(path, checkpoint.state, checkpoint.hyper_parameters, variant, provenance)
    # The published file is recognised by its content, regardless of its name.
    return weights if published is None else weights.with_contract(replace(weights, variant=published).contract)


def _from_hub(bundle: HubBundle, repository: str, variant: Variant | None) -> Weights:
    note = f"downloaded from the hub repository {repository} at commit {bundle.commit}"
    return _from_bundle(read_bundle(bundle.folder), variant, Provenance("hub", repository, notes=(note,)))


def _from_bundle(bundle: Bundle, variant: Variant | None, provenance: Provenance) -> Weights:
    about = bundle.about
    named = about.variant
    if variant is not None and named not in (None, CUSTOM, variant.name):
        raise WeightsError(
            f"{shown(bundle.model.parent, 4096)}: expected {variant.name}, found a bundle of {shown(named)}"
        )
    provenance = replace(
        provenance,
        sha256=file_digests(bundle.model).sha256,
        seed=about.seed,
        assumed=about.assumed,
        dropped=about.dropped,
        notes=(*about.notes, *provenance.notes),
    )
    weights = _assemble(bundle.model, bundle.state, bundle.hyper_parameters, variant, provenance, about.head)
    found = {"tensors": (about.digest, weights.digest)}
    if about.head is not None:
        found["a head"] = about.head_digest, weights.head().digest
    for what, (stated, digest) in found.items():
        if stated not in (None, digest):
            raise WeightsError(
                f"{shown(bundle.model, 4096)}: expected {what} with digest {shown(stated)}, as its config.json states, "
                f"found {digest}; get the bundle again"
            )
    if about.contract is None:
        return weights
    if about.contract.placement is None:
        return weights.with_contract(replace(weights.contract, stride=about.contract.stride))
    return weights.with_contract(about.contract)


def _assemble(
    path: Path,
    state: Mapping[str, TensorInFile],
    hyper_parameters: Mapping[str, Any],
    variant: Variant | None,
    provenance: Provenance,
    head: HeadFacts | None = None,
) -> Weights:
    file = shown(path, 4096)
    config, assumed = resolve_architecture(hyper_parameters, variant, file)
    mapped = map_state(state, config, file)
    provenance = replace(
        provenance,
        assumed={**provenance.assumed, **assumed},
        dropped=tuple(sorted({*provenance.dropped, *mapped.dropped})),
        notes=(*provenance.notes, *mapped.notes),
    )
    name = CUSTOM if variant is None else variant.name
    facts = partial(head_facts, hyper_parameters, None if variant is None else variant.head)
    return Weights(
        config,
        mapped.tensors,
        mapped.extras,
        name,
        provenance,
        read_training(hyper_parameters, file),
        find_head=partial(read_head, state, config, facts if head is None else lambda _: head, file),
    )

"""Bundles on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swift_export.errors import WeightsError
from swift_export.models.swift.weights.bundle import CONFIG, MODEL
from swift_export.models.swift.weights.network import UnreachableError, open_url
from swift_export.system.text import shown

__all__ = ["HubBundle", "fetch_bundle", "is_hub_id"]

CONNECT_SECONDS = 3.5

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_FILE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")


@dataclass(frozen=True)
class HubBundle:
    """A bundle in the cache of huggingface_hub: its folder, and the commit of its repository."""

    folder: Path
    commit: str


def is_hub_id(text: str) -> bool:
    """Whether a text has the form ``owner/name`` and does not look like the path of a file."""
    return _HUB_ID.fullmatch(text) is not None and not text.endswith(_FILE_SUFFIXES)


def fetch_bundle(repository: str, *, seconds: float = CONNECT_SECONDS, quiet: bool = True) -> HubBundle:
    """The bundle of a repository on the hub, downloaded through huggingface_hub or from its cache.

    The hub's reachability is determined within ``seconds``, because huggingface_hub itself tries for minutes.

    Raises:
        UnreachableError: the hub cannot be reached, and the cache has no copy.
        WeightsError: the repository contains no bundle.

    """
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    reason = "HF_HUB_OFFLINE is set"
    if not offline:
        try:
            open_url(f"{_endpoint()}/{repository}/resolve/main/{CONFIG}", seconds).close()
        except UnreachableError as error:
            offline, reason = error.status not in (401, 403, 404), str(error)
    with _progress_bars(not quiet):
        config = _file(repository, CONFIG, None, reason if offline else None)
        commit = config.parent.name
        _file(repository, MODEL, commit, reason if offline else None)
    return HubBundle(config.parent, commit)


def _endpoint() -> str:
    """The address of the hub, or of the mirror in huggingface_hub's HF_ENDPOINT."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _file(repository: str, name: str, revision: str | None, offline: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            hf_hub_download(
                repository, name, revision=revision, endpoint=_endpoint(), local_files_only=offline is not None
            )
        )
    except LocalEntryNotFoundError as error:
        raise UnreachableError(f"{repository} is not in the local cache, and {offline or shown(error)}") from None
    except RepositoryNotFoundError:
        raise WeightsError(
            f"{repository}: no such repository on the hub, or a private one; log in or check the name"
        ) from None
    except (EntryNotFoundError, RevisionNotFoundError):
        raise WeightsError(f"{repository}: expected a bundle with {MODEL} and {CONFIG}, found no {name}") from None
    # The error classes of the transport differ between versions of huggingface_hub.
    except Exception as error:
        raise WeightsError(f"{repository}: {name} cannot be downloaded ({shown(error, 200)})") from error


@contextmanager
def _progress_bars(wanted: bool) -> Iterator[None]:
    """Enable or disable the progress bars of huggingface_hub, which appear only on terminals, for the block."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if wanted or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()

"""Bundles from the hub, through huggingface_hub, against a server on 127.0.0.1 that speaks the hub's protocol."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import constants

from swift_export.errors import WeightsError
from swift_export.models.swift.variants import VARIANTS
from swift_export.models.swift.weights import load_weights, write_bundle
from swift_export.models.swift.weights.hub import is_hub_id
from swift_export.models.swift.weights.network import STALL_SECONDS

Refused = Callable[..., AbstractContextManager[Any]]

ID = "ilex-hub/swift.contrastive.1"
COMMIT = "c0ffee" * 6 + "beef"


@pytest.fixture
def hub(web: ModuleType, lightning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub with one repository, holding the bundle of a Lightning checkpoint, and an empty local cache."""
    write_bundle(load_weights(lightning / "lightning-1.ckpt"), tmp_path / "bundle")
    site = web.Site()
    for file in (tmp_path / "bundle").iterdir():
        for revision in ("main", COMMIT):
            path = f"/{ID}/resolve/{revision}/{file.name}"
            site.files[path] = file.read_bytes()
            site.headers[path] = {"X-Repo-Commit": COMMIT, "ETag": f'"{len(site.files[path])}"'}
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with web.serve(site):
        monkeypatch.setenv("HF_ENDPOINT", site.address)
        yield site


def test_ids() -> None:
    assert all(map(is_hub_id, [ID, "a/b", "Owner_1/na-me.2"]))
    assert not any(
        map(is_hub_id, ["a", "a/b/c", "./a", "../a", "/a", "a/", "runs/last.ckpt", "a/b.safetensors", "~/a", "a/b\n"])
    )


def test_a_bundle_on_the_hub(hub: Any, lightning: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    weights = load_weights(ID)
    assert weights.digest == load_weights(lightning / "lightning-1.ckpt").digest
    origin = weights.provenance
    assert (origin.kind, origin.name, origin.synthetic, weights.variant) == ("hub", ID, False, "custom")
    assert origin.notes[-1] == f"downloaded from the hub repository {ID} at commit {COMMIT}"


def test_from_the_cache_without_network(
    hub: Any, web: ModuleType, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    online = load_weights(ID)
    monkeypatch.setenv("HF_ENDPOINT", web.nobody())
    assert load_weights(ID).digest == online.digest
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_weights(ID).digest == online.digest
    with refused("other/model", "not in the local cache, and HF_HUB_OFFLINE is set"):
        load_weights("other/model")


def test_no_such_repository(hub: Any, refused: Refused) -> None:
    path = "/nobody/nothing/resolve/main/config.json"
    hub.headers[path], hub.statuses[path] = {"X-Error-Code": "RepoNotFound"}, 401
    with refused("nobody/nothing: no such repository on the hub"):
        load_weights("nobody/nothing")


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors"])
def test_no_bundle_in_the_repository(absent: str, hub: Any, refused: Refused) -> None:
    for revision in ("main", COMMIT):
        path = f"/{ID}/resolve/{revision}/{absent}"
        del hub.files[path]
        hub.headers[path] = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
    with refused(f"{ID}: expected a bundle", f"found no {absent}"):
        load_weights(ID)


def waited(caught: pytest.ExceptionInfo[WeightsError]) -> float:
    """The seconds that, as its message says, were spent on waiting for answers."""
    return sum(map(float, re.findall(r"did not answer within ([\d.]+) s", str(caught.value))))


@pytest.mark.parametrize("network", ["refuses", "is silent"])
def test_no_network(
    network: str, hub: Any, web: ModuleType, monkeypatch: pytest.MonkeyPatch, refused: Refused, capfd: Any
) -> None:
    with web.black_hole() as silent:
        monkeypatch.setenv("HF_ENDPOINT", web.nobody() if network == "refuses" else silent)
        start = time.perf_counter()
        with refused(f"--weights {ID}: no such file or folder", "as a hub id", "not in the local cache") as caught:
            load_weights(ID)
        # What the rest takes depends on the machine; it is not the time that a socket waits.
        assert time.perf_counter() - start < STALL_SECONDS
        assert waited(caught) == (3.5 if network == "is silent" else 0)
    assert capfd.readouterr() == ("", "")


# -------------------------------------------------------------------------------------------------- --weights auto


@pytest.mark.parametrize("network", ["refuses", "is silent", "has no names"])
def test_auto_without_network(
    network: str, hub: Any, web: ModuleType, monkeypatch: pytest.MonkeyPatch, refused: Refused, capfd: Any
) -> None:
    with web.black_hole() as silent:
        address = {"refuses": web.nobody(), "is silent": silent, "has no names": "http://name.invalid"}[network]
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", address)
        for variant in VARIANTS:
            start = time.perf_counter()
            with refused(
                "--weights auto: ", VARIANTS[variant].path.split("/")[1], "--weights PATH", "--weights synthetic"
            ) as caught:
                load_weights("auto", variant=variant)
            assert time.perf_counter() - start < STALL_SECONDS
            assert waited(caught) <= 3.5
            assert waited(caught) >= (2 if network == "is silent" else 0)
    assert capfd.readouterr() == ("", "")


def test_auto_takes_the_hubs_bundle_where_upstream_is_gone(
    hub: Any, web: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle served here is of another architecture, and the variant says so: it was fetched and looked at."""
    monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", web.nobody())
    with pytest.raises(WeightsError, match="differs from --variant contrastive in img_size"):
        load_weights("auto", variant="contrastive")
    assert [path for _, path, _ in hub.asked if path.endswith("model.safetensors")]


def test_auto_never_falls_back_from_a_wrong_file(hub: Any, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    variant = VARIANTS["contrastive"]
    hub.files["/" + variant.path] = bytes(variant.size)
    monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", hub.address)
    with refused("not the published file", f"git blob id expected {variant.git_blob}"):
        load_weights("auto", variant="contrastive")
    assert not [path for _, path, _ in hub.asked if "resolve" in path]

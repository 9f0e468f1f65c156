"""Published files: fetched, resumed, verified, cached. Every server is a real one, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import swift_export
from swift_export.errors import MachineError, UsageError
from swift_export.models.swift.variants import UPSTREAM, VARIANTS, Variant
from swift_export.models.swift.weights.download import cache_folder, published_file, published_url
from swift_export.models.swift.weights.file_digests import file_digests
from swift_export.models.swift.weights.network import UnreachableError

Refused = Callable[..., AbstractContextManager[None]]

CONTENT = np.random.default_rng(0).bytes(1_000_003)
BLOB = hashlib.sha1(b"blob 1000003\0" + CONTENT).hexdigest()
PATH = "/pretrained_models/tiny.ckpt"
TINY = Variant("tiny", "for tests", VARIANTS["contrastive"].config, PATH[1:], BLOB)
KNOWN = replace(TINY, sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT))
BOTH = pytest.mark.parametrize("variant", [TINY, KNOWN], ids=["blob id only", "all digests"])


@pytest.fixture
def site(web: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web.serve(web.Site({PATH: CONTENT})) as site:
        monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", site.address + "/")
        yield site


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def part(cache: Path) -> Path:
    path = cache / BLOB / "tiny.ckpt.part"
    path.parent.mkdir(parents=True)
    return path


def test_digests_are_gits_and_sha256sums(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    found = file_digests(tmp_path / "a")
    git = subprocess.run(["git", "hash-object", tmp_path / "a"], capture_output=True, text=True, check=True)
    assert (found.size, found.git_blob, found.sha256) == (len(CONTENT), git.stdout.strip(), KNOWN.sha256)


@BOTH
def test_fetched_once_then_cached(variant: Variant, site: Any, own_cache: Path) -> None:
    path = published_file(variant)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(own_cache)
    assert published_file(variant) == path
    assert site.asked == [("GET", PATH, None)]
    assert kept(own_cache) == ["tiny.ckpt"]


def test_upstream_is_the_pinned_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWIFT_EXPORT_UPSTREAM", raising=False)
    url = published_url(VARIANTS["contrastive"])
    assert url == UPSTREAM.url("pretrained_models/contrastive_pretrained.ckpt")
    assert "/0b07cb156d77a7de33078c8f6fe3ddffa7b5ae9c/" in url


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SWIFT_EXPORT_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "swift-export"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "swift-export"


@BOTH
@pytest.mark.parametrize("length", [True, False], ids=["length told", "length untold"])
def test_resumed_after_an_interruption(
    variant: Variant, length: bool, site: Any, own_cache: Path, refused: Refused
) -> None:
    site.cut, site.length = 400_000, True
    with refused("tiny.ckpt from 127.0.0.1", "400000 of 1000003 bytes", "run the command again"):
        published_file(variant)
    assert kept(own_cache) == ["tiny.ckpt.part"]
    site.cut, site.length = None, length
    assert published_file(variant).read_bytes() == CONTENT
    assert site.asked == [("GET", PATH, None), ("GET", PATH, "bytes=400000-")]
    assert kept(own_cache) == ["tiny.ckpt"]


def test_interrupted_without_a_length(site: Any, own_cache: Path, refused: Refused) -> None:
    """Only the digest can tell, and then nothing says that what came is a beginning."""
    site.cut, site.length = 400_000, False
    with refused("not the published file", "the download was deleted"):
        published_file(TINY)
    assert kept(own_cache) == []


@BOTH
def test_a_server_that_ignores_ranges(variant: Variant, site: Any, own_cache: Path) -> None:
    part(own_cache).write_bytes(CONTENT[:1000])
    site.ranges = False
    assert published_file(variant).read_bytes() == CONTENT
    assert site.asked == [("GET", PATH, "bytes=1000-")]


@BOTH
@pytest.mark.parametrize(
    "beginning", [b"another file", CONTENT + b"more", b"x" * len(CONTENT)], ids=["other", "longer", "equal"]
)
def test_a_beginning_of_something_else(variant: Variant, beginning: bytes, site: Any, own_cache: Path) -> None:
    part(own_cache).write_bytes(beginning)
    assert published_file(variant).read_bytes() == CONTENT
    assert kept(own_cache) == ["tiny.ckpt"]


def test_a_whole_part_is_not_fetched_again(site: Any, own_cache: Path) -> None:
    part(own_cache).write_bytes(CONTENT)
    assert published_file(TINY).read_bytes() == CONTENT
    assert site.asked == []


@BOTH
def test_another_file_is_refused(variant: Variant, site: Any, own_cache: Path, refused: Refused) -> None:
    site.files[PATH] = CONTENT[:-1] + b"\0"
    with refused("not the published file", f"git blob id expected {BLOB}, found ", "the download was deleted"):
        published_file(variant)
    assert kept(own_cache) == []


def test_digests_that_disagree_are_both_shown(site: Any, own_cache: Path, refused: Refused) -> None:
    sha256 = hashlib.sha256(b"what the lab's notes say").hexdigest()
    with refused(f"git blob id expected {BLOB}, found {BLOB}", f"sha256 expected {sha256}, found {KNOWN.sha256}"):
        published_file(replace(KNOWN, sha256=sha256))
    blob = "0" * 40
    with refused(f"git blob id expected {blob}, found {BLOB}", f"sha256 expected {KNOWN.sha256}, found {KNOWN.sha256}"):
        published_file(replace(KNOWN, git_blob=blob))
    assert kept(own_cache) == []


def test_another_size_is_refused_before_it_is_fetched(site: Any, own_cache: Path, refused: Refused) -> None:
    site.files[PATH] = CONTENT + b"more"
    with refused("expected 1000003 bytes, the server offers 1000007"):
        published_file(KNOWN)
    assert kept(own_cache) == []


def test_more_than_was_announced(site: Any, own_cache: Path, refused: Refused) -> None:
    site.files[PATH], site.length = CONTENT + b"more", False
    with refused("expected at most 1000003 bytes, found more"):
        published_file(KNOWN)


def test_a_damaged_cache_is_mended(site: Any, own_cache: Path) -> None:
    path = published_file(TINY)
    path.write_bytes(CONTENT[:-1])
    assert published_file(TINY).read_bytes() == CONTENT
    assert len(site.asked) == 2


@pytest.mark.parametrize("status", [404, 500, 403])
def test_error_statuses(status: int, site: Any, refused: Refused) -> None:
    site.statuses[PATH] = status
    with refused(f"127.0.0.1 answered {status}", error=UnreachableError):
        published_file(TINY)


def test_nobody_there(web: ModuleType, site: Any, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", web.nobody())
    with refused("127.0.0.1 cannot be reached", error=UnreachableError):
        published_file(TINY)
    monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", "http://name.invalid")
    with refused("name.invalid cannot be reached", error=UnreachableError):
        published_file(TINY)


def test_only_the_web(site: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: Refused) -> None:
    monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", f"file://{tmp_path}")
    with refused("expected an http or https address", error=UsageError):
        published_file(TINY)


def test_a_cache_that_cannot_be_written(site: Any, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("")
    with refused("the cache cannot be written", "SWIFT_EXPORT_CACHE", error=UsageError):
        published_file(TINY, cache=tmp_path / "file" / "cache")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(site: Any, own_cache: Path, refused: Refused) -> None:
    part(own_cache).symlink_to("/dev/full")
    with refused("the download cannot be stored", error=MachineError, status=1):
        published_file(TINY)


FETCH = """
import hashlib, sys
from dataclasses import replace
from pathlib import Path
from swift_export.models.swift.variants import VARIANTS
from swift_export.models.swift.weights.download import published_file
variant = replace(VARIANTS["hcp-sex"], path=sys.argv[1], git_blob=sys.argv[2])
print(hashlib.sha256(published_file(variant).read_bytes()).hexdigest())
"""


def test_several_processes_at_once(site: Any, own_cache: Path, popen) -> None:
    """Each gets the right file, and it was fetched once."""
    command = [sys.executable, "-c", FETCH, PATH[1:], BLOB]
    root = Path(swift_export.__file__).parents[1]
    workers = [popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [worker.communicate(timeout=300)[0].strip() for worker in workers] == [KNOWN.sha256] * 4
    assert site.asked == [("GET", PATH, None)]
    assert kept(own_cache) == ["tiny.ckpt"]

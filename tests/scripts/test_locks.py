"""The lock files: complete, hashed, consistent with each other and with pyproject.toml, and without addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LOCKS = {path.stem: path.read_text() for path in (REPOSITORY / "locks").glob("*.txt")}
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)( ; [^\\]+)? \\$", re.MULTILINE)


def pins(name: str) -> dict[str, tuple[int, ...]]:
    return {found[1]: numbers(found[2]) for found in PIN.finditer(LOCKS[name])}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_every_line_is_a_pin_a_hash_or_the_head(name: str) -> None:
    for line in LOCKS[name].splitlines()[2:]:
        assert PIN.match(line) or re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_every_pin_has_a_hash(name: str) -> None:
    for entry in re.split(r"\n(?=\w)", LOCKS[name])[1:]:
        assert "--hash=sha256:" in entry


def test_sets_agree_on_versions() -> None:
    everything: dict[str, tuple[int, ...]] = {}
    for name in LOCKS:
        for package, version in pins(name).items():
            assert everything.setdefault(package, version) == version
    assert "torch" not in everything


def test_the_head_states_sizes() -> None:
    for text in LOCKS.values():
        assert re.search(r"^# \d+ MB to download, \d+ MB installed$", text, re.MULTILINE)


def test_locks_satisfy_the_lower_bounds() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = {
        "core": project["project"]["dependencies"],
        "fmri": project["project"]["optional-dependencies"]["fmri"],
        "savedmodel": project["project"]["optional-dependencies"]["savedmodel"],
        "scale": project["project"]["optional-dependencies"]["scale"],
        "probe": project["project"]["optional-dependencies"]["probe"],
        "serve": project["project"]["optional-dependencies"]["serve"],
        "openvino": project["project"]["optional-dependencies"]["openvino"],
        "iree": project["project"]["optional-dependencies"]["iree"],
        "bench": project["dependency-groups"]["bench"],
        "test": project["dependency-groups"]["test"],
    }
    assert set(LOCKS) == set(wanted)
    for name, requirements in wanted.items():
        for requirement in requirements:
            package, relation, bound = re.fullmatch(r"([a-z0-9-]+)(?:\[.*\])?(>=|==)([\d.]+)", requirement).groups()
            found = (pins("core") | pins(name))[package]
            assert found >= numbers(bound) if relation == ">=" else found == numbers(bound), requirement

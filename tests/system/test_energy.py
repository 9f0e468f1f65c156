"""Energy counters, from files as Linux has them and from a stand-in for NVIDIA's library."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift_export.system import nvml
from swift_export.system.energy import card_energy, package_energy


def package(folder: Path, microjoules: int, most: int = 999) -> Path:
    folder.mkdir()
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_packages_are_added_and_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    first, second = package(tmp_path / "intel-rapl:0", 900), package(tmp_path / "intel-rapl:1", 10)
    package(tmp_path / "intel-rapl:0:0", 5)  # a part of the first
    energy = package_energy(tmp_path)
    assert energy is not None
    assert energy.joules() == 0

    (first / "energy_uj").write_text("50\n")  # 100 to the end of its range, and 50 beyond
    (second / "energy_uj").write_text("30\n")

    assert energy.joules() == pytest.approx(170e-6)


def test_packages_that_are_absent_or_cannot_be_read_are_not_counted(tmp_path: Path) -> None:
    assert package_energy(tmp_path) is None
    (package(tmp_path / "intel-rapl:0", 1) / "energy_uj").unlink()
    assert package_energy(tmp_path) is None


#: A card of 80 GB of which 30 GB are in use, that has used 12.5 J; the second one does not count energy.
LIBRARY = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
static int cards[2];
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned number, void **card) {
  if (number > 1) return 2;
  *card = &cards[number];
  return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **card) {
  if (strcmp(uuid, "GPU-2")) return 2;
  *card = &cards[1];
  return 0;
}
int nvmlDeviceGetName(void *card, char *text, unsigned length) { strcpy(text, "Card"); return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strcpy(text, "580.1"); return 0; }
int nvmlDeviceGetMemoryInfo(void *card, memory *found) {
  found->total = 80000000000ULL; found->used = 30000000000ULL; found->free = 50000000000ULL;
  return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *millijoules) {
  *millijoules = 12500;
  return card == &cards[1] ? 3 : 0;
}
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    source, built = tmp_path / "nvml.c", tmp_path / "libnvidia-ml.so.1"
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", built], check=True)
    opened = ctypes.CDLL(str(built))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: opened)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml.find_card.cache_clear()
    yield
    nvml.find_card.cache_clear()


@pytest.mark.requires("cc")
def test_the_card_tells_its_name_memory_and_energy(library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    card = nvml.find_card()
    assert card is not None
    assert (card.name, card.driver, card.memory) == ("Card", "580.1", 80_000_000_000)
    assert (card.used_bytes(), card.free_bytes()) == (30_000_000_000, 50_000_000_000)
    energy = card_energy()
    assert energy is not None
    assert (energy.of, energy.joules()) == ("Card", 12.5)


@pytest.mark.requires("cc")
@pytest.mark.parametrize(("visible", "found"), [("1,0", True), ("GPU-2", True), ("7", False), ("", False)])
def test_the_card_is_the_one_that_cuda_shows(
    library: None, monkeypatch: pytest.MonkeyPatch, visible: str, found: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (nvml.find_card() is not None) == found
    assert card_energy() is None  # the second card does not count


def test_without_a_driver_there_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    nvml.find_card.cache_clear()
    assert nvml.find_card() is None
    nvml.find_card.cache_clear()

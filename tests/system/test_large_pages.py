"""A program that starts itself again with large pages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import os, sys
from swift_export.system.large_pages import restart_with_large_pages
print("started", flush=True)
restart_with_large_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], os.getpid())
"""


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="needs glibc")
@pytest.mark.parametrize("told", [None, "glibc.malloc.check=0"])
def test_it_starts_again_once_with_the_same_arguments(told: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment |= {"GLIBC_TUNABLES": told} if told else {}
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "a b", "--c"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        output = process.communicate(timeout=60)[0].splitlines()
    tunables = told or "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
    assert output == ["started"] * (1 if told else 2) + [f"{tunables} ['a b', '--c'] {process.pid}"]

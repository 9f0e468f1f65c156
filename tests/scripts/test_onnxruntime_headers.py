"""The headers of ONNX Runtime come from Debian's package, by the mirrors of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "_onnxruntime_headers.py"

# Stands for apt-get on a machine with three sources: prints what it would fetch, keeps what it is to fetch it from.
APT = """#!/bin/sh
case "$*" in
*print-uris*) cat <<END
'http://mirror.test/debian/dists/CODENAME/InRelease' mirror.test_InRelease 0
'http://mirror.test/debian/dists/CODENAME/main/binary-amd64/Packages.xz' mirror.test_Packages 0
'http://mirror.test/debian/dists/CODENAME/main/binary-all/Packages.xz' mirror.test_Packages 0
'http://mirror.test/security/dists/CODENAME-security/main/binary-amd64/Packages.xz' mirror.test_security 0
'http://other.test/dists/nodistro/main/binary-amd64/Packages.xz' other.test_Packages 0
END
;;
*update) cp sources.list "$KEPT" ;;
*download*) [ -z "$OFFLINE" ] || { printf 'W: first\\nE: cannot reach mirror.test\\n' >&2; exit 100; }
    touch libonnxruntime-dev_1.deb ;;
esac
"""
DPKG = """#!/bin/sh
[ "$*" = "--extract libonnxruntime-dev_1.deb unpacked" ] || exit 1
mkdir -p unpacked/usr/include/onnxruntime
echo header > unpacked/usr/include/onnxruntime/onnxruntime_cxx_api.h
"""


def codename() -> str | None:
    """Debian's; None on another system, and where the headers are installed."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None
    installed = Path("/usr/include/onnxruntime").is_dir()
    return release.get("VERSION_CODENAME") if release["ID"] == "debian" and not installed else None


@pytest.mark.skipif(codename() is None, reason="needs a Debian without libonnxruntime-dev")
def test_headers(tmp_path: Path) -> None:
    programs, environment = tmp_path / "programs", tmp_path / "environment"
    programs.mkdir()
    for name, text in (("apt-get", APT.replace("CODENAME", str(codename()))), ("dpkg-deb", DPKG)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    header = environment / "include" / "onnxruntime" / "onnxruntime_cxx_api.h"
    header.parent.symlink_to(tmp_path / "removed")

    def run(python: Path, **settings: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "KEPT": str(tmp_path / "kept"), **settings}
        return subprocess.run([python, "-I", SCRIPT], env=variables, capture_output=True, text=True, timeout=60)

    failed = run(environment / "bin" / "python", OFFLINE="yes")
    words = "test: the headers of ONNX Runtime: apt-get: E: cannot reach mirror.test; its client in C++ is not tested\n"
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", words)
    for _ in range(2):
        done = run(environment / "bin" / "python")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert header.read_text() == "header\n"
    assert (tmp_path / "kept").read_text() == "deb http://mirror.test/debian trixie main\n"
    assert [path.name for path in header.parent.parent.glob("*onnx*")] == ["onnxruntime"]
    # An environment's own headers are never those of the machine's Python.
    base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info[1]}")
    if not Path(sys.base_prefix, "include", "onnxruntime").exists():
        assert "expected the Python of an environment" in run(base).stderr

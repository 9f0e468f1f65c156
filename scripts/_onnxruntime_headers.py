"""Puts the headers of ONNX Runtime, by which examples/clients/cpp is compiled, into the environment of this Python.

    python _onnxruntime_headers.py          exit status 0 if they are there, 1 after one line that says why not

They are those of the installed package libonnxruntime-dev, by a link. On a Debian without it, apt-get downloads it from
the first Debian that has it, by the mirrors of the machine's own sources, and verifies it by Debian's keys. Nothing is
installed on the machine. Uses only the standard library.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "libonnxruntime-dev"
HEADER = "onnxruntime_cxx_api.h"
#: The first Debian with the package. Its header works with the library of any later version.
SUITE = "trixie"
#: Where the package has its headers.
INSTALLED = Path("usr/include/onnxruntime")


class HeadersError(Exception):
    """The headers could not be provided; the message is one line."""


def provide(target: Path) -> None:
    """Make a folder with the headers, all at once.

    Raises:
        HeadersError: the machine has no package with them, and cannot download one.
        OSError: the disk is full, or a permission is missing.

    """
    target.unlink(missing_ok=True)  # a link to headers that were removed
    if (Path("/") / INSTALLED / HEADER).is_file():
        target.symlink_to(Path("/") / INSTALLED)
        return
    with tempfile.TemporaryDirectory(prefix="headers-", dir=target.parent) as draft:
        folder = Path(draft)
        package = download(folder)
        run(folder, "dpkg-deb", "--extract", package.name, "unpacked")
        headers = folder / "unpacked" / INSTALLED
        if not (headers / HEADER).is_file():
            raise HeadersError(f"expected {INSTALLED / HEADER} in {package.name}, found none")
        headers.rename(target)


def download(folder: Path) -> Path:
    """The package from Debian, by lists of packages that are the machine's for this folder alone."""
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        raise HeadersError(f"expected {Path('/') / INSTALLED / HEADER}, or a Debian to download it, found neither")
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    options = [
        f"Dir::State::Lists={folder / 'lists'}",
        f"Dir::Cache={folder / 'cache'}",
        "Acquire::Languages=none",
        "Acquire::Retries=2",
        "APT::Update::Error-Mode=any",
        "APT::Sandbox::User=root",  # root's folder need not be open to apt's own user
    ]
    apt = ["apt-get", "--quiet", *(part for option in options for part in ("-o", option))]
    release = platform.freedesktop_os_release()
    own = release.get("VERSION_CODENAME", "stable")
    indexes = run(folder, *apt, "update", "--print-uris")
    mirrors = sorted(set(re.findall(rf"^'(\S+)/dists/(?:{re.escape(own)}|stable)/main/binary-", indexes, re.MULTILINE)))
    if release.get("ID") != "debian" or not mirrors:
        raise HeadersError(f"expected the package {PACKAGE}, or Debian's sources to download it, found neither")
    (folder / "sources.list").write_text("".join(f"deb {mirror} {SUITE} main\n" for mirror in mirrors))
    apt += ["-o", f"Dir::Etc::SourceList={folder / 'sources.list'}", "-o", "Dir::Etc::SourceParts=/dev/null"]
    run(folder, *apt, "update")
    run(folder, *apt, "download", PACKAGE)
    return next(folder.glob("*.deb"))


def run(folder: Path, *command: str) -> str:
    """The output of a command in this folder. Raises HeadersError with its last words if it fails."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=300
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["failed without a message"]
        raise HeadersError(f"{command[0]}: {said[-1]}")
    return done.stdout


def main() -> int:
    target = Path(sys.prefix) / "include" / "onnxruntime"
    if (target / HEADER).is_file():
        return 0
    try:
        if sys.prefix == sys.base_prefix:
            raise HeadersError(f"expected the Python of an environment, found {sys.executable}")
        provide(target)
    except (HeadersError, OSError, subprocess.SubprocessError) as error:
        print(f"test: the headers of ONNX Runtime: {error}; its client in C++ is not tested", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes ``locks/*.txt`` from ``pyproject.toml``: one resolution, split into sets that are installed separately.

    scripts/lock [--upgrade]    keep pins that still satisfy pyproject.toml; with --upgrade, take the newest versions

A lock file holds names, versions, markers and hashes, but no address of an index. ``core`` holds the requirements of
the package. The other sets hold the additional requirements of an extra or of the tests. The header of each file states
its sizes, measured here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
#: Options of ``uv pip compile`` that select each set. Core comes first; its packages are removed from the others.
SETS = {
    "core": ["pyproject.toml"],
    "fmri": ["pyproject.toml", "--extra", "fmri"],
    "savedmodel": ["pyproject.toml", "--extra", "savedmodel"],
    "scale": ["pyproject.toml", "--extra", "scale"],
    "probe": ["pyproject.toml", "--extra", "probe"],
    "serve": ["pyproject.toml", "--extra", "serve"],
    "openvino": ["pyproject.toml", "--extra", "openvino"],
    "iree": ["pyproject.toml", "--extra", "iree"],
    "bench": ["pyproject.toml", "--group", "bench"],
    "test": ["pyproject.toml", "--group", "test"],
}
EVERYTHING = ["pyproject.toml", "--extra", "all", "--group", "bench", "--group", "test"]
#: TensorFlow Serving's stubs require TensorFlow with GPU support, but tensorflow-cpu from the extra suffices. Triton's
#: client excludes the protobuf, ml-dtypes and greenlet of the others, and works with them.
OVERRIDES = "tensorflow ; python_version < '3'\nprotobuf >= 6.30\nml-dtypes >= 0.5\ngreenlet >= 3\n"


def compile_lock(selection: list[str], output: Path, *options: str) -> list[str]:
    """Requirements for a selection of the dependencies in ``pyproject.toml``, one entry each, with hashes."""
    command = ["uv", "pip", "compile", *selection, "--quiet", "--no-config", "--universal", "--python-version", "3.11"]
    # One version for all Pythons, so that the same weights give the same files on each.
    command += ["--fork-strategy", "fewest", "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header"]
    # uv reads overrides from a file.
    overrides = output.with_suffix(".overrides")
    overrides.write_text(OVERRIDES)
    options = ("--override", str(overrides), "--output-file", str(output), *options)
    subprocess.run([*command, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return re.split(r"\n(?=\w)", output.read_text().strip())


def measure(requirements: Path, folder: Path) -> tuple[int, int]:
    """Megabytes of the wheels and of their unpacked contents, on this machine."""
    pip = [sys.executable, "-I", "-m", "pip"]
    options = ["--quiet", "--no-deps", "--require-hashes", "--requirement", str(requirements)]
    wheels, unpacked = folder / "wheels", folder / "unpacked"
    subprocess.run([*pip, "download", *options, "--only-binary=:all:", "--dest", str(wheels)], check=True)
    offline = ["--no-index", "--find-links", str(wheels)]
    subprocess.run([*pip, "install", *options, *offline, "--target", str(unpacked)], check=True)
    sizes = []
    for tree in (wheels, unpacked):
        sizes.append(round(sum(file.stat().st_blocks * 512 for file in tree.rglob("*") if file.is_file()) / 1e6))
        shutil.rmtree(tree)
    return sizes[0], sizes[1]


def main(arguments: list[str]) -> int:
    if set(arguments) - {"--upgrade"}:
        print("usage: scripts/lock [--upgrade]", file=sys.stderr)
        return 2
    if not shutil.which("uv"):
        print("lock: uv is not on PATH: run pip install uv", file=sys.stderr)
        return 1
    LOCKS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        everything = folder / "everything.txt"
        if "--upgrade" not in arguments:
            # uv keeps the versions in an existing output file.
            everything.write_text("".join(lock.read_text() for lock in sorted(LOCKS.glob("*.txt"))))
        compile_lock(EVERYTHING, everything)
        core: set[str] = set()
        for name, selection in SETS.items():
            output = folder / f"{name}.txt"
            entries = compile_lock(selection, output, "--constraint", str(everything))
            entries = [entry for entry in entries if entry not in core]
            core = core or set(entries)
            body = "\n".join(entries) + "\n"
            output.write_text(body)
            download, disk = measure(output, folder)
            head = f"# Written by scripts/lock. {len(entries)} packages; on Linux x86-64 with CPython "
            head += f"{sys.version_info[0]}.{sys.version_info[1]}:\n# {download} MB to download, {disk} MB installed\n"
            (LOCKS / f"{name}.txt").write_text(head + body)
            print(
                f"{os.path.relpath(LOCKS / f'{name}.txt')}: {len(entries)} packages, {download} MB, {disk} MB installed"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

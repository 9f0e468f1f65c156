"""Creates ``.venv``, the environment of the scripts, from the lock files. Uses only the standard library.

    python _install.py [--into NAME] --ready SET...            exit status 0 if the environment holds these sets
    python _install.py [--into NAME] SET... -- COMMAND ARG...  install the sets, then become COMMAND

A set is a lock file, ``locks/SET.txt``. NAME is a folder of the repository to use instead of ``.venv``. Its
``installed.json``, the stamp, lists the sets and the SHA-256 of the lock file that each was installed from. The stamp
is emptied before an installation and written last, so that an interrupted installation is detected and repeated. A
changed lock file or a moved repository has the same effect.

The scripts (_python.sh) open the folder of the environment as descriptor 9. ``--ready`` takes a shared lock on it,
which lasts until the command has ended. Removing an environment takes an exclusive lock, and so waits for the commands
that run in it. An environment is renamed before it is deleted, and a new one receives its stamp before its name. After
any interruption, the environment is therefore either one that this script made, or absent.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"

#: The descriptor through which a running command holds its environment.
HELD = 9


class InstallError(Exception):
    """The environment could not be created; the message is one line."""


class Environment:
    """The paths of an environment."""

    def __init__(self, name: str) -> None:
        self.folder = ROOT / name
        self.python = self.folder / "bin" / "python"
        self.stamp = self.folder / "installed.json"
        #: Wheels are downloaded here first, so that a network failure leaves the environment unchanged.
        self.wheels = self.folder / "wheels"
        self.log = self.folder / "install.log"
        #: Folders of a new and of a removed environment. The next installation deletes leftovers of an interruption.
        self.draft = ROOT / f"{name}.new"
        self.removed = ROOT / f"{name}.old"


def lock_digest(name: str) -> str:
    """SHA-256 of a set's lock file."""
    return hashlib.sha256((LOCKS / f"{name}.txt").read_bytes()).hexdigest()


def lock_sizes(name: str) -> tuple[int, int]:
    """Megabytes to download and on disk, as measured by ``scripts/lock`` and stated in the lock file."""
    found = re.search(r"^# (\d+) MB to download, (\d+) MB installed", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def installed_sets(venv: Environment) -> list[str] | None:
    """The sets in an environment, or None if it must be created or recreated."""
    try:
        stamp = json.loads(venv.stamp.read_text(encoding="utf-8"))
        locks = stamp["locks"]
        current = stamp["root"] == str(ROOT) and all(lock_digest(name) == digest for name, digest in locks.items())
    except (OSError, ValueError, KeyError):
        return None
    return list(locks) if current and os.access(venv.python, os.X_OK) else None


def ready(venv: Environment, sets: list[str]) -> bool:
    return set(sets) <= set(installed_sets(venv) or ())


def hold(venv: Environment) -> bool:
    """Lock the environment for the command about to run in it; False if it is being removed or is gone.

    Without the descriptor, or on a file system without locks, the command runs without a lock.
    """
    try:
        fcntl.flock(HELD, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(HELD), venv.folder.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True


def release() -> None:
    """Release the lock of `hold`, so that an installation does not wait for itself."""
    with suppress(OSError):
        os.close(HELD)


def install(venv: Environment, sets: list[str], say: Progress) -> None:
    """Install these sets.

    Raises:
        InstallError: a set is unknown, or the installation failed.
        OSError: the disk is full, or a permission is missing.

    """
    unknown = [name for name in sets if not (LOCKS / f"{name}.txt").is_file()]
    if unknown:
        raise InstallError(f"no lock file for {', '.join(unknown)} in {LOCKS}")
    with one_at_a_time(say):
        present = installed_sets(venv)
        missing = [name for name in sets if name not in (present or ())]
        if not missing:
            return
        announce(venv, missing, say)
        start = time.monotonic()
        if present is None:
            create(venv, say)
        fetch(venv, missing, say)
        venv.stamp.write_text("")
        unpack(venv, missing, say)
        locks = {name: lock_digest(name) for name in (*(present or ()), *missing)}
        written = venv.stamp.with_suffix(".new")
        written.write_text(json.dumps({"root": str(ROOT), "locks": locks}, indent=2), encoding="utf-8")
        written.replace(venv.stamp)
        say.line(f"installed in {time.monotonic() - start:.0f} s")


@contextmanager
def one_at_a_time(say: Progress) -> Iterator[None]:
    """Hold the install lock of the repository; a second installation waits for the first."""
    with (ROOT / ".venv.lock").open("w") as handle:
        # pip inherits the lock: while it runs, even after this process was killed, no other installation starts.
        os.set_inheritable(handle.fileno(), True)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say.line("waiting for another installation to finish")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def unused(venv: Environment, say: Progress) -> Iterator[None]:
    """Wait until no command uses an environment, then keep new commands out."""
    folder = os.open(venv.folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say.line(f"{venv.folder.name} must be recreated; waiting for the commands that still run in it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks, on which `hold` took none either
        yield
    finally:
        os.close(folder)


def announce(venv: Environment, sets: list[str], say: Progress) -> None:
    download, disk = (sum(sizes) for sizes in zip(*map(lock_sizes, sets), strict=True))
    reason = "first use" if "core" in sets else f"this command needs {' and '.join(sets)}"
    say.line(f"{reason}: installing into {venv.folder.name}, {download} MB to download, {disk} MB on disk")
    # Wheels and their unpacked contents coexist for a while.
    free = shutil.disk_usage(ROOT).free // 10**6
    if free < download + disk:
        raise InstallError(
            f"{ROOT}: expected {download + disk} MB of free disk space, found {free} MB; nothing was installed"
        )


def create(venv: Environment, say: Progress) -> None:
    """Create an empty environment that imports ``swift_export`` from this repository."""
    # An environment without a stamp belongs to the user.
    if venv.folder.is_symlink() or (venv.folder.exists() and not venv.stamp.exists()):
        raise InstallError(f"{venv.folder} was not made by this script: move or delete it, then run the command again")
    for folder in (venv.draft, venv.removed):
        if folder.exists():
            shutil.rmtree(folder)
    if venv.folder.exists():
        with unused(venv, say):
            venv.folder.rename(venv.removed)
        shutil.rmtree(venv.removed)
    venv.draft.mkdir()
    (venv.draft / venv.stamp.name).write_text("")
    venv.draft.rename(venv.folder)
    say.step(f"creating {venv.folder.name}")
    run([sys.executable, "-I", "-m", "venv", str(venv.folder)], venv.log, "python -m venv failed")
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(venv.folder), "platbase": str(venv.folder)}))
    (packages / "swift_export.pth").write_text(f"{ROOT}\n", encoding="utf-8")


def fetch(venv: Environment, sets: list[str], say: Progress) -> None:
    """Download all wheels of these sets and verify their hashes. Fails if one does not exist for this platform."""
    total, collected = (
        sum(len(re.findall(r"^\w\S*==", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE)) for name in sets),
        0,
    )
    options = ("--require-hashes", "--only-binary=:all:", "--dest", str(venv.wheels), *requirements(sets))
    for line in pip(venv, "download", *options):
        if line.startswith("Ignoring "):
            total -= 1
        elif line.startswith("Collecting "):
            collected += 1
            say.step(f"downloading {collected}/{total}: {line.split()[1]}")


def unpack(venv: Environment, sets: list[str], say: Progress) -> None:
    """Install the downloaded wheels, without an index."""
    say.step("unpacking")
    options = ("--require-hashes", "--no-index", "--find-links", str(venv.wheels), *requirements(sets))
    for _ in pip(venv, "install", *options):
        pass
    shutil.rmtree(venv.wheels)


def requirements(sets: list[str]) -> list[str]:
    # A lock file is complete, so pip need not resolve dependencies.
    return ["--no-deps", *(part for name in sets for part in ("--requirement", str(LOCKS / f"{name}.txt")))]


def pip(venv: Environment, command: str, *options: str) -> Iterator[str]:
    """Run the pip of the environment and yield its output line by line."""
    fixed = ["-I", "-m", "pip", command, "--no-input", "--disable-pip-version-check"]
    return lines([str(venv.python), *fixed, *options], venv.log)


def run(command: list[str], log: Path, failure: str) -> None:
    for _ in lines(command, log, failure):
        pass


def lines(command: list[str], path: Path, failure: str | None = None) -> Iterator[str]:
    """Yield the output of a command line by line, and log it; raises InstallError with the reason if it fails."""
    # These settings would install packages outside the environment.
    dropped = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    said = []
    with (
        path.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            close_fds=False,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                log.write(line)
                said.append(line.strip())
                yield line
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise InstallError(f"{failure or reason(said)} (full log: {path})")


def reason(said: list[str]) -> str:
    """The reason of a failure in one line, from the output of pip."""
    text = "\n".join(said)
    absent = re.search(r"No matching distribution found for (\S+)", text)
    if re.search(r"Retrying \(|ConnectionError|Temporary failure in name resolution", text):
        return "cannot reach the package index: connect this machine and run the command again; nothing was installed"
    if absent:
        platform = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {sysconfig.get_platform()}"
        return f"no wheel of {absent[1]} exists for {platform}; nothing was installed"
    if "DO NOT MATCH THE HASHES" in text:
        return "a download does not match the hash in the lock file; nothing was installed"
    errors = [line for line in said if line.startswith("ERROR")] or said or ["failed without a message"]
    return f"pip: {errors[-1]}"


class Progress:
    """Permanent lines, and on a terminal one line that shows the current step."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stderr.isatty()

    def line(self, text: str) -> None:
        print(f"{self._clear()}{self.name}: {text}", file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"{self._clear()}{f'{self.name}: {text}'[:width]}", end="", file=sys.stderr, flush=True)

    def _clear(self) -> str:
        return "\r\033[K" if self.terminal else ""


def main(arguments: list[str]) -> int:
    venv = Environment(".venv")
    if arguments[0] == "--into":
        venv, arguments = Environment(arguments[1]), arguments[2:]
    if arguments[0] == "--ready":
        return 0 if hold(venv) and ready(venv, arguments[1:]) else 1
    release()
    split = arguments.index("--")
    sets, command = arguments[:split], arguments[split + 1 :]
    say = Progress(os.path.basename(command[0]))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        install(venv, sets, say)
    except InstallError as error:
        say.line(str(error))
        return 1
    except OSError as error:
        say.line(f"cannot install: {error}")
        return 1
    except KeyboardInterrupt:
        say.line("interrupted; the next run repeats the installation")
        return 130
    return os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

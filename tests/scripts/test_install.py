"""The self-installing scripts, with the real pip on small wheels from a folder instead of an index."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# Stands for the package: the launcher has to reach it with the caller's arguments, folder and exit status.
MAIN = """
import os, sys
import core_library
print(sys.argv[1:], os.getcwd())
try:
    import extra_library
    print("with the extra")
except ImportError:
    pass
sys.exit(7 if "fail" in sys.argv else 0)
"""


@dataclass
class Clone:
    """A repository with the real scripts and lock files of two small packages."""

    root: Path
    wheels: Path
    popen: Callable[..., subprocess.Popen[str]] = subprocess.Popen
    #: Where programs are looked for first.
    programs: Path | None = None

    @property
    def launcher(self) -> Path:
        return self.root / "scripts" / "swift-export"

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def lock(self, name: str, *requirements: str, download: int = 1) -> None:
        head = f"# Written by scripts/lock.\n# {download} MB to download, 2 MB installed\n"
        (self.root / "locks" / f"{name}.txt").write_text(head + "\n".join(requirements) + "\n")

    def environment(self, **settings: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        path = {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"} if self.programs else {}
        return inherited | index | path | settings

    def run(self, *arguments: str, cwd: Path | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.launcher), *arguments]
        environment = self.environment(**settings)
        return subprocess.run(command, cwd=cwd or self.wheels, env=environment, capture_output=True, text=True)

    def start(self, **settings: str) -> subprocess.Popen[str]:
        return self.popen(
            [str(self.launcher), "again"],
            env=self.environment(**settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def make_wheel(folder: Path, name: str, tag: str = "py3-none-any", code: str = "") -> str:
    """Write a wheel of version 1.0 and return its line for a lock file."""
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


# Every start of the Python that it lies in runs it: an environment's pip is linked to one that is there already.
READY_PIP = """
import glob, os, shutil, venv

def link_pip(self, context):
    packages = os.path.join(context.env_dir, "lib", {library!r}, "site-packages")
    for source in glob.glob(os.path.join({ready!r}, "lib", {library!r}, "site-packages", "pip*")):
        shutil.copytree(source, os.path.join(packages, os.path.basename(source)), copy_function=os.link)

venv.EnvBuilder._setup_pip = link_pip
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Python whose new environments get pip at once: Python's own way of it takes seconds."""
    ready, made = (tmp_path_factory.mktemp("python") / name for name in ("ready", "made"))
    for folder, options in ((ready, []), (made, ["--without-pip"])):
        subprocess.run([sys.executable, "-I", "-m", "venv", *options, str(folder)], check=True)
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = made / "lib" / library / "site-packages"
    (packages / "ready_pip.py").write_text(READY_PIP.format(ready=str(ready), library=library))
    (packages / "ready_pip.pth").write_text("import ready_pip\n")
    if not (made / "bin/python3.13").exists():  # what the launcher looks for first
        (made / "bin/python3.13").symlink_to("python")
    return made / "bin"


@pytest.fixture
def bare_clone(tmp_path: Path, popen: Callable[..., subprocess.Popen[str]]) -> Clone:
    """With the Python of this machine alone."""
    root, wheels = tmp_path / "a clone with spaces", tmp_path / "wheels"
    for folder in (root / "swift_export", root / "locks", wheels):
        folder.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "swift_export" / "__main__.py").write_text(MAIN)
    made = Clone(root, wheels, popen)
    made.lock("core", make_wheel(wheels, "core_library"), 'absent==1.0 ; sys_platform == "none" --hash=sha256:00')
    made.lock("fmri", make_wheel(wheels, "extra_library"))
    return made


@pytest.fixture
def clone(bare_clone: Clone, python: Path) -> Clone:
    """With a Python that makes environments at once."""
    bare_clone.programs = python
    return bare_clone


def test_first_use_installs_and_later_ones_are_silent(bare_clone: Clone, tmp_path: Path) -> None:
    clone = bare_clone
    first = clone.run("onnx", "a b", cwd=tmp_path)
    assert first.stdout == f"['onnx', 'a b'] {tmp_path}\n"
    assert "first use: installing into .venv, 1 MB to download, 2 MB on disk" in first.stderr
    assert first.returncode == 0

    link = tmp_path / "link"
    link.symlink_to(clone.launcher)
    # A module of the caller's folder or path must not take the place of an installed one.
    (tmp_path / "core_library.py").write_text("raise SystemExit('shadowed')")
    command = [str(link), "fail"]
    environment = clone.environment(PYTHONPATH=str(tmp_path))
    second = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (second.returncode, second.stdout, second.stderr) == (7, f"['fail'] {tmp_path}\n", "")


def test_an_extra_is_added_when_a_command_asks_for_it(clone: Clone) -> None:
    assert "with the extra" not in clone.run().stdout
    added = clone.run(SWIFT_EXPORT_EXTRAS="fmri")
    assert "this command needs fmri: installing" in added.stderr
    assert "with the extra" in added.stdout
    assert clone.run().stderr == ""


def test_the_benchmark_has_an_environment_of_its_own(clone: Clone) -> None:
    clone.run()
    for name in ("savedmodel", "openvino", "iree", "bench"):
        clone.lock(name, make_wheel(clone.wheels, f"for_{name}", code=f"print('{name}')"))
    package = clone.root / "scripts" / "_bench"
    shutil.rmtree(package)
    package.mkdir()
    (package / "__main__.py").write_text("import core_library, for_openvino, for_iree, for_bench\n" + MAIN)
    bench = [str(clone.root / "scripts" / "bench_cpu"), "a b"]
    done = subprocess.run(bench, cwd=clone.wheels, env=clone.environment(), capture_output=True, text=True)
    assert "first use: installing into .venv-bench, 5 MB to download, 10 MB on disk" in done.stderr
    assert done.stdout.splitlines() == ["openvino", "iree", "bench", f"['a b'] {clone.wheels}"]
    assert not list(clone.venv.glob("lib/*/site-packages/for_*"))
    assert clone.run().stderr == ""


def test_an_extra_that_cannot_be_fetched_leaves_the_environment(clone: Clone) -> None:
    clone.run()
    failed = clone.run(SWIFT_EXPORT_EXTRAS="fmri", PIP_FIND_LINKS="/nowhere")
    assert failed.returncode == 1
    assert (clone.run().returncode, clone.run().stderr) == (0, "")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_install_is_done_again(clone: Clone, stop: signal.Signals) -> None:
    process = clone.start()
    wait_until((clone.venv / "installed.json").exists)
    os.killpg(process.pid, stop)
    _, stderr = process.communicate(timeout=300)
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert stderr.splitlines()[-1] == "swift-export: interrupted; the next run repeats the installation"
    again = clone.run("again")
    assert "first use: installing" in again.stderr
    assert again.returncode == 0


def test_two_first_runs_at_once_wait_for_each_other(clone: Clone) -> None:
    first = clone.start()
    wait_until((clone.venv / "installed.json").exists)
    second = clone.run("second")
    assert "waiting for another installation to finish" in second.stderr
    assert "first use" not in second.stderr
    assert "second" in second.stdout
    assert "again" in first.communicate(timeout=300)[0]


def test_a_new_lock_file_means_a_new_environment(clone: Clone) -> None:
    clone.run()
    mine = clone.venv / "left-over"
    mine.touch()
    lock = clone.root / "locks" / "core.txt"
    lock.write_text(lock.read_text() + "# changed\n")
    assert "first use: installing" in clone.run().stderr
    assert not mine.exists()


def test_a_moved_clone_is_installed_anew(clone: Clone, tmp_path: Path) -> None:
    clone.run()
    moved = Clone(clone.root.rename(tmp_path / "moved"), clone.wheels, programs=clone.programs)
    after = moved.run("here")
    assert "first use: installing" in after.stderr
    assert "here" in after.stdout


def test_somebody_elses_venv_is_left_alone(clone: Clone) -> None:
    clone.venv.mkdir()
    (clone.venv / "mine").touch()
    refused = clone.run()
    assert refused.returncode == 1
    assert "was not made by this script" in refused.stderr
    assert [path.name for path in clone.venv.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("core_library==1.0 --hash=sha256:" + "0" * 64, "a download does not match the hash in the lock file"),
        ("for_others==1.0 --hash=sha256:" + "0" * 64, "no wheel of for_others==1.0"),
    ],
)
def test_what_cannot_be_installed_is_told_in_one_line(clone: Clone, requirement: str, message: str) -> None:
    make_wheel(clone.wheels, "for_others", tag="cp311-cp311-win_arm64")
    clone.lock("core", requirement)
    failed = clone.run()
    assert failed.returncode == 1
    assert message in failed.stderr.splitlines()[-1]
    assert "nothing was installed" in failed.stderr.splitlines()[-1]
    assert len(failed.stderr.splitlines()) == 2
    assert not list(clone.venv.glob("lib/*/site-packages/core_library*"))


def test_without_network_the_line_says_so(clone: Clone) -> None:
    settings = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_RETRIES": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    failed = clone.run(**settings)
    assert failed.returncode == 1
    assert "cannot reach the package index" in failed.stderr


def test_too_little_space_is_told_before_anything_is_installed(clone: Clone) -> None:
    clone.lock("core", "core_library==1.0", download=10**9)
    failed = clone.run()
    assert failed.returncode == 1
    assert "expected 1000000002 MB of free disk space, found " in failed.stderr
    assert not clone.venv.exists()


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (None, "needs Python 3.11, 3.12 or 3.13 on PATH, found none"),
        ("exit 127", "needs Python 3.11, 3.12 or 3.13 on PATH, found none"),
        ('case $* in *ensurepip*) exit 1;; esac; exec {real} "$@"', "install the package python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_named(clone: Clone, tmp_path: Path, python: str | None, message: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "readlink", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or "")
    if python:
        shim = programs / "python3.12"
        shim.write_text("#!/bin/sh\n" + python.format(real=sys.executable))
        shim.chmod(0o755)
    failed = clone.run(PATH=str(programs))
    assert failed.returncode == 1
    assert message in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def wait_until(condition: Callable[[], bool], timeout: float = 300.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "the install did not begin"
        time.sleep(0.01)


# Says that it runs, waits for a line, and only then needs what lies in its environment.
SLOW = """
import sys
print("running", flush=True)
sys.stdin.readline()
import core_library
print("found", core_library.__file__)
"""


def outdate(clone: Clone) -> None:
    lock = clone.root / "locks" / "core.txt"
    lock.write_text(lock.read_text() + "# changed\n")


# Runs the installer, and kills it when it comes to change the repository for the nth time.
KILLED = """
import os, runpy, signal, sys
_, left, *sys.argv = sys.argv
left = int(left)

def hook(event, arguments):
    global left
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
    if changes or (event == "open" and ".venv" in str(arguments[0]) and "w" in str(arguments[1])):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_an_installer_killed_at_any_moment_is_never_stuck(clone: Clone) -> None:
    installer = str(clone.root / "scripts" / "_install.py")
    met = set()
    for moment in range(12):
        if not clone.venv.exists():  # one of an older lock file
            (clone.venv / "bin").mkdir(parents=True)
            (clone.venv / "bin" / "activate").touch()
            (clone.venv / "installed.json").write_text(json.dumps({"root": str(clone.root), "locks": {"core": "0"}}))
        command = [sys.executable, "-c", KILLED, str(moment), installer, "core", "--", "/bin/true"]
        killed = subprocess.run(command, env=clone.environment(), capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not clone.venv.exists() or (clone.venv / "installed.json").exists()
        met |= {path.name for path in clone.root.glob(".venv*")}
    assert met >= {".venv", ".venv.new", ".venv.old"}

    again = clone.run("again")
    assert (again.returncode, again.stdout) == (0, f"['again'] {clone.wheels}\n")
    assert sorted(path.name for path in clone.root.glob(".venv*")) == [".venv", ".venv.lock"]


def test_a_running_command_keeps_its_environment(clone: Clone) -> None:
    (clone.root / "swift_export" / "__main__.py").write_text(SLOW)
    running = clone.start()
    assert running.stdout
    assert running.stdout.readline() == "running\n"
    added = clone.start(SWIFT_EXPORT_EXTRAS="fmri")  # which takes nothing away
    assert added.communicate("\n", timeout=300)[0].startswith("running\nfound")
    outdate(clone)

    second = clone.start()
    assert second.stderr
    assert "first use" in second.stderr.readline()
    assert second.stderr.readline() == (
        "swift-export: .venv must be recreated; waiting for the commands that still run in it\n"
    )
    (packages,) = clone.venv.glob("lib/*/site-packages")
    assert running.communicate("\n", timeout=300)[0] == f"found {packages / 'core_library.py'}\n"
    assert "found" in second.communicate("\n", timeout=300)[0]


def test_a_command_that_begins_again_does_not_wait_for_itself(clone: Clone) -> None:
    (clone.root / "swift_export" / "__main__.py").write_text(
        "import os, sys\n"
        "if 'SWIFT_EXPORT_EXTRAS' not in os.environ:\n"
        f"    open({str(clone.root / 'locks' / 'core.txt')!r}, 'a').write('# changed')\n"
        "    os.environ['SWIFT_EXPORT_EXTRAS'] = 'fmri'\n"
        "    launcher = os.environ['SWIFT_EXPORT_LAUNCHER']\n"
        "    os.execv(launcher, [launcher, *sys.argv[1:]])\n" + MAIN
    )
    begun = clone.start()
    assert "with the extra" in begun.communicate(timeout=300)[0]

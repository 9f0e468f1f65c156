"""What a test needs beyond the core, and the account of what was therefore not run.

    @pytest.mark.requires("savedmodel")     needs TensorFlow and tf2onnx
    @pytest.mark.requires("cc", "fmri")     needs a C compiler and nibabel
    @pytest.mark.full_size                  runs the published model's size, tens of seconds

A test whose needs are absent is not run, and named and counted at the end; in CI (``CI=true``) it fails instead, unless
what it needs is a GPU or PyTorch. ``--fast`` leaves out what needs a heavy runtime and what is full size, in CI too.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

#: Compiling takes most of the time of a test with a small model. XLA optimizes code for nothing there, and its older
#: emitters compile five times faster: what is computed stays, and so do the limits that it is held to. Where numbers
#: are compared to the last bit, the newer ones are asked for (converter/edges.py), as they round each operator once.
#: Tests of the published size run as XLA comes. Here, before JAX.
XLA_FLAGS = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)


#: Whose annotations are checked while they run: where arrays are computed with.
CHECKED = (
    "swift_export.models.swift.backbone",
    "swift_export.models.swift.structure.groups",
    "swift_export.models.swift.structure.window_tokens",
    "swift_export.models.swift.score_bound",
    "swift_export.scans",
    "swift_export.parity.report.images",
)


def _keep_to_one_core() -> None:
    """Give each process of pytest-xdist a core of its own: threads of two that fight for cores cost both much time.

    Runtimes take as many threads as this process has cores, and what a test starts inherits its core.
    """
    worker = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker[1]) % len(cores)]})


_keep_to_one_core()
# References are counted; to look for cycles among the millions of objects here took an eighth of the time.
gc.set_threshold(50_000, 20, 20)


def _check_annotations() -> None:
    """Hold annotations to what functions are given and return, shapes too; in this process alone."""
    # The hook takes a name that it can import. To beartype an int is no float unless it is told of PEP 484.
    module = sys.modules["_swift_export_typechecker"] = ModuleType("_swift_export_typechecker")
    module.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
    install_import_hook(CHECKED, f"{module.__name__}.check")


_check_annotations()

# ruff: noqa: E402
sys.path.insert(0, str(Path(__file__).parent))
import forkserver
from light_contexts import make_light_contexts

from swift_export.errors import SwiftExportError, WeightsError
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import Weights, synthetic_weights

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"

#: Windowed to the last stage; shifts in space and time; every mask takes part.
CASE = "tiny-windowed"


def _modules(*names: str) -> Callable[[], bool]:
    return lambda: all(importlib.util.find_spec(name) for name in names)


def _programs(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name) for name in names)


#: Each need, what it is in words, and whether this machine has it.
NEEDS: dict[str, tuple[str, Callable[[], bool]]] = {
    "savedmodel": ("TensorFlow and tf2onnx", _modules("tensorflow", "tf2onnx")),
    "fmri": ("nibabel", _modules("nibabel")),
    "probe": ("scikit-learn", _modules("sklearn")),
    "serve": (
        "the packages of the server",
        _modules("fastapi", "uvicorn", "httptools", "prometheus_client", "python_multipart", "grpc"),
    ),
    "iree": ("IREE", _modules("iree")),
    "openvino": ("OpenVINO", _modules("openvino")),
    "serving": ("the stubs of TensorFlow Serving", _modules("tensorflow_serving", "grpc", "tensorflow")),
    "tritonclient": ("Triton's clients", _modules("tritonclient", "grpc", "geventhttpclient")),
    "kubernetes": ("kubernetes-validate", _modules("kubernetes_validate")),
    "scale": ("Dask, dask-jobqueue and bids2table", _modules("distributed", "dask_jobqueue", "bids2table")),
    "bids": ("the BIDS validator", _modules("bids_validator_deno")),
    "cc": ("a C compiler", _programs("cc", "gcc", "clang")),
    "chromium": ("Chromium", _programs("chromium", "chromium-browser", "google-chrome")),
    "curl": ("curl", _programs("curl")),
    "openssl": ("OpenSSL's program", _programs("openssl")),
    "npm": (
        "Node.js and the packages of examples/clients/typescript",
        lambda: (
            _programs("node")() and (HERE.parent / "examples/clients/typescript/node_modules/onnxruntime-node").is_dir()
        ),
    ),
    "onnxruntime-headers": (
        "a C++ compiler, make and ONNX Runtime's headers (scripts/_onnxruntime_headers.py)",
        lambda: (
            _programs("c++")()
            and _programs("make")()
            and Path(sys.prefix, "include/onnxruntime/onnxruntime_cxx_api.h").is_file()
        ),
    ),
    "torch": ("PyTorch", _modules("torch")),
    "gpu": ("an NVIDIA GPU", lambda: os.path.exists("/dev/nvidiactl")),
}
#: What --fast leaves out.
HEAVY = frozenset({"savedmodel", "iree", "openvino", "serving"})
#: Needs that CI may lack.
OPTIONAL_IN_CI = frozenset({"gpu", "torch"})
#: The files that take longest, in order (docs/testing.md says how to find them).
LONGEST = (
    "test_full_size models/swift/structure/test_structure parity/test_locating parity/test_matrix parity/test_checking "
    "lowering/test_formats cli/test_exporting cli/test_checking scripts/test_bench test_export "
    "models/swift/backbone/test_partition test_export_any_model scripts/test_install parity/test_weight_identity "
    "test_golden_full_size"
)
#: Variables by which a command prints otherwise, or looks elsewhere: the user's own are not those of a test.
SETTINGS = re.compile(
    r"SWIFT_EXPORT_\w+|HF_\w+|COLUMNS|LINES|(FORCE|NO|PY)_COLORS?|CLICOLOR\w*|TTY_\w+|GITHUB_ACTIONS|\w+_PROXY", re.I
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out what needs a heavy runtime and what is full size")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"requires(*needs): what the test needs: {', '.join(NEEDS)}")
    config.addinivalue_line("markers", "full_size: runs a model of the published size")

    # One server for all processes of the tests, which find it in the environment.
    if sys.platform == "linux" and not hasattr(config, "workerinput"):
        server = forkserver.ForkServer(os.environ)
        config.add_cleanup(server.close)
        os.environ[forkserver.FOLDER] = server.folder
    forkserver.fork_children()
    make_light_contexts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: the other process has something to do meanwhile."""
    order = {HERE / f"{name}.py": place for place, name in enumerate(LONGEST.split())}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    needs = [need for marker in item.iter_markers("requires") for need in marker.args]
    if unknown := [need for need in needs if need not in NEEDS]:
        pytest.fail(f"requires{tuple(unknown)}: tests/conftest.py knows {', '.join(NEEDS)}", pytrace=False)
    if item.config.getoption("fast"):
        if item.get_closest_marker("full_size"):
            pytest.skip("full size, left out by --fast")
        if heavy := [need for need in needs if need in HEAVY]:
            pytest.skip(f"needs {NEEDS[heavy[0]][0]}, left out by --fast")
    for need in needs:
        words, present = NEEDS[need]
        if not present():
            if os.environ.get("CI") == "true" and need not in OPTIONAL_IN_CI:
                pytest.fail(f"needs {words}, absent on this CI machine", pytrace=False)
            pytest.skip(f"needs {words}, absent here")


@pytest.fixture(scope="session", autouse=True)
def _no_settings() -> Iterator[None]:
    """Leave the settings of whoever started the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(SETTINGS.fullmatch, list(os.environ)):
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _children_hear_signals() -> Iterator[None]:
    """Have signals their usual effect in what a test starts, however the tests themselves were started.

    A shell starts a background job with SIGINT ignored, nohup any program with SIGHUP ignored, and a process inherits
    what is ignored. It does not inherit a handler: these do nothing here, and leave each child the default.
    """
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def popen() -> Iterator[Callable[..., subprocess.Popen[Any]]]:
    """`subprocess.Popen`, each in a group of its own that is ended and waited for once the test is over."""
    started: list[subprocess.Popen[Any]] = []

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(*arguments, **options | {"start_new_session": True})
        started.append(process)
        return process

    yield popen
    for process in started:
        with process:  # closes its pipes too
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name and count what was not run, by reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        by_reason[reason.removeprefix("Skipped: ")].append(report.nodeid)
    if by_reason:
        terminalreporter.section(f"not run: {sum(map(len, by_reason.values()))} tests")
    for reason, tests in sorted(by_reason.items()):
        terminalreporter.line(f"{len(tests)} tests: {reason}")
        for test in tests:
            terminalreporter.line(f"    {test}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        reason = "needs permission to mount a tmpfs, absent here"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}: {mounted.stderr}")
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def load_module() -> Callable[[Path], ModuleType]:
    """Load a module of the tests by its path, once."""
    loaded: dict[Path, ModuleType] = {}

    def load(path: Path) -> ModuleType:
        if path not in loaded:
            spec = importlib.util.spec_from_file_location(f"tests_{path.stem}", path)
            assert spec
            assert spec.loader
            # Dataclasses look themselves up there.
            loaded[path] = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[path])
        return loaded[path]

    return load


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def recipe(load_module) -> ModuleType:
    """The golden recipe: what the checkpoints in ``tests/golden`` hold."""
    return load_module(GOLDEN / "recipe.py")


@pytest.fixture(scope="session")
def torch_file(load_module) -> ModuleType:
    """A writer of torch's file format that shares nothing with the reader, and that can also lie."""
    return load_module(HERE / "formats/checkpoint/torch_file.py")


@pytest.fixture(scope="session")
def lightning() -> Path:
    """The folder with files that PyTorch-Lightning itself wrote; see its README."""
    return HERE / "formats/checkpoint/data"


@pytest.fixture(scope="session")
def brains(load_module) -> ModuleType:
    """The module ``scans/brains.py``, loaded only by tests that run: it imports nibabel."""
    return load_module(HERE / "scans/brains.py")


Refused = Callable[..., AbstractContextManager[pytest.ExceptionInfo[SwiftExportError]]]


@pytest.fixture(scope="session")
def refused() -> Refused:
    """``with refused("told", ...) as caught:`` the block raises a user's error, in one line that tells all of these."""

    @contextmanager
    def block(
        *told: str, error: type[SwiftExportError] = WeightsError, status: int = 2
    ) -> Iterator[pytest.ExceptionInfo[SwiftExportError]]:
        with pytest.raises(error) as caught:
            yield caught
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        assert message.isprintable()
        assert len(message) < 8000
        assert [part for part in told if part not in message] == [], message
        assert caught.value.exit_status == status

    return block


@pytest.fixture(scope="session")
def config_of():
    def config_of(case: str = CASE) -> SwiFTConfig:
        stored = json.loads((GOLDEN / case / "case.json").read_text())
        return SwiFTConfig.from_hyper_parameters(stored["hyper_parameters"])

    return config_of


@pytest.fixture(scope="session")
def weights(config_of) -> Weights:
    return synthetic_weights(config_of(), seed=3)


@pytest.fixture(scope="session")
def write():
    """Writes formats below a folder, laid out like an artifact without its manifest."""

    def write(
        weights: Weights,
        folder: Path,
        *formats: str,
        settings: SwiFTSettings | None = None,
        onnx: OnnxSettings | None = None,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        model = swift_model(weights, settings)
        if "onnx" in formats:
            from swift_export.lowering.onnx_file import write_onnx

            write_onnx(model, folder, onnx)
        if "stablehlo" in formats:
            from swift_export.lowering.stablehlo import write_stablehlo

            write_stablehlo(model, folder, onnx)
        if "savedmodel" in formats:
            from swift_export.lowering.savedmodel import write_savedmodel

            write_savedmodel(model, folder, onnx)
        return folder

    return write


@pytest.fixture(scope="session")
def staged(weights, write, tmp_path_factory) -> Path:
    """ONNX and StableHLO of `weights`; not to be changed."""
    return write(weights, tmp_path_factory.mktemp("staged"), "onnx", "stablehlo")


@pytest.fixture(scope="session")
def artifact(weights, tmp_path_factory) -> Path:
    """An artifact folder of `weights` with ONNX and StableHLO, unchecked; not to be changed."""
    from swift_export.exporting import run_export

    folder = tmp_path_factory.mktemp("exported") / "artifact"
    run_export(("onnx", "stablehlo"), swift_model(weights), folder, check=False)
    return folder

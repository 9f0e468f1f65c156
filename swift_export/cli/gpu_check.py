"""Parity and timings of every format on this machine's GPU, without a network and with the installed packages.

Exports synthetic weights, checks each artifact against the reference on the CPU, times it at batch 1 and 4, and writes
the results, with the card, the driver and all versions, to ``docs/gpu-report.md``. Runtimes without a GPU are listed as
absent. The exit status is 1 if a check fails, a runtime breaks, or no runtime has a GPU.
"""

from __future__ import annotations

import argparse
import math
import sys
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from swift_export.errors import CheckFailed, SwiftExportError, UsageError
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models import Model
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.variants import VARIANTS
from swift_export.models.swift.weights import synthetic_weights
from swift_export.parity.measure.measuring import Plan, measure
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.report import table
from swift_export.parity.report.gpu_report import TIME_COLUMNS, Findings, describe_machine
from swift_export.parity.targets import Target, staged_subject
from swift_export.runtimes.base import DEVICES, AbsentDevice
from swift_export.runtimes.reference_file import write_reference
from swift_export.runtimes.registry import REFERENCE, RUNTIMES
from swift_export.system.files import replaced
from swift_export.system.text import one_line

__all__ = ["main", "unpacked"]

BATCHES = (1, 4)
REPORT = Path("docs/gpu-report.md")

#: Every part of the architecture, at a size that a CPU checks in seconds.
TINY = SwiFTConfig(
    img_size=(24, 24, 24, 6),
    in_chans=1,
    embed_dim=12,
    window_size=(2, 2, 2, 4),
    first_window_size=(2, 2, 2, 2),
    patch_size=(6, 6, 6, 1),
    depths=(2, 2),
    num_heads=(1, 2),
    c_multiplier=2,
    last_layer_full_MSA=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with command-line arguments; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    command = " ".join(["scripts/gpu_check", *arguments])
    try:
        with scratch_folder() as folder:
            findings = _find(options, command, folder)
        report = options.report or (REPORT if options.device == "gpu" else None)
        if report:
            report.parent.mkdir(parents=True, exist_ok=True)
            with replaced(report) as draft:
                draft.write_text(findings.markdown(), encoding="utf-8")
            _print_line(f"wrote {report}")
        _print_summary(findings)
        if findings.failures:
            raise CheckFailed("; ".join(findings.failures))
    except SwiftExportError as error:
        print(one_line(f"gpu_check: {error}"), file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/gpu_check", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", choices=DEVICES, default="gpu")
    parser.add_argument("--architecture", choices=("contrastive", "tiny"), default="contrastive")
    parser.add_argument(
        "--ort-gpu",
        type=Path,
        metavar="PATH",
        help="an onnxruntime-gpu wheel, or a folder with it or its contents",
    )
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="warm calls per timing (default 20)")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="the report to write (default docs/gpu-report.md for a GPU)",
    )
    return parser


def _find(options: argparse.Namespace, command: str, folder: Path) -> Findings:
    config = TINY if options.architecture == "tiny" else VARIANTS[options.architecture].config
    model = swift_model(synthetic_weights(config, variant=options.architecture))
    search = () if options.ort_gpu is None else (unpacked(options.ort_gpu, new_folder(folder / "packages")),)
    exported = new_folder(folder / "exported")
    absent, broken = _export(model, exported), list[str]()
    subject = staged_subject(exported, model)

    def failed(target: Target, error: SwiftExportError) -> None:
        (absent if isinstance(error, AbsentDevice) else broken).append(f"{target.file}: {error}")

    plan = Plan(options.device, BATCHES, on_progress=_print_line, search=search, repeat=options.repeat)
    targets = [*subject.targets, _for_onnxruntime(model, folder), _reference(model, folder)]
    parity = measure(subject, targets, plan, failed)
    if not parity.artifacts and not broken:
        raise AbsentDevice(f"nothing here computes on {options.device}: {'; '.join(absent)}")
    shape = ", ".join(map(str, config.input_shape()))
    described = f"{options.architecture}, clips ({shape})"
    return Findings(command, describe_machine(), described, parity, absent, broken)


def _export(model: Model, folder: Path) -> list[str]:
    """Write every format that can be written here; return the missing ones."""
    from swift_export.lowering.lower import keep_off_accelerators
    from swift_export.lowering.onnx_file import write_onnx
    from swift_export.lowering.stablehlo import write_stablehlo

    keep_off_accelerators()
    _print_line("exporting")
    write_stablehlo(model, folder)
    write_onnx(model, folder)
    if not RUNTIMES["tensorflow"].installed:
        return ["savedmodel/1: TensorFlow is not installed"]
    from swift_export.lowering.savedmodel import write_savedmodel

    write_savedmodel(model, folder)
    return []


def _for_onnxruntime(model: Model, folder: Path) -> Target:
    """The ONNX file with ONNX Runtime's own ops, beside the portable one."""
    from swift_export.lowering.onnx_file import write_onnx

    settings = OnnxSettings(target="onnxruntime")
    write_onnx(model, folder / settings.target, settings)
    path = folder / settings.target / "onnx" / "model.onnx"
    return Target(path, "onnx/model.onnx, target onnxruntime", RUNTIMES["onnxruntime"], model)


def _reference(model: Model, folder: Path) -> Target:
    """The Equinox model itself, to compare its times with those of the files."""
    path = folder / "model.safetensors"
    write_reference(model, path)
    return Target(path, "the Equinox model", REFERENCE, model)


def unpacked(given: Path, folder: Path) -> Path:
    """A folder from which onnxruntime-gpu can be imported."""
    wheels = [given] if given.suffix == ".whl" else sorted(given.glob("*.whl"))
    if given.is_dir() and (given / "onnxruntime" / "__init__.py").is_file():
        return given.resolve()
    if len(wheels) != 1 or not zipfile.is_zipfile(wheels[0]):
        raise UsageError(f"--ort-gpu {given}: expected an onnxruntime-gpu wheel, or a folder with it or its contents")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)
    # It searches for CUDA's libraries beside itself.
    nvidia = find_spec("nvidia")
    for location in nvidia.submodule_search_locations or () if nvidia else ():
        (folder / "nvidia").symlink_to(location)
        break
    return folder


def _print_summary(findings: Findings) -> None:
    print(*table(TIME_COLUMNS, findings.time_rows()), sep="\n")
    worst = max((m.relative_l2 for m in findings.parity.measurements()), default=math.nan)
    absent = "; ".join(findings.absent) or "nothing"
    print(f"largest relative L2 {worst:.1e}; absent: {absent}; failed: {'; '.join(findings.failures) or 'nothing'}")


def _print_line(what: str) -> None:
    print(one_line(f"gpu_check: {what}"), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

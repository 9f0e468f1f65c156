"""The results of a check: every artifact in every runtime, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from swift_export.artifacts.layout import find_format, is_inside
from swift_export.artifacts.manifest import GoldenInput, Measurement
from swift_export.errors import CheckFailed
from swift_export.models.model import Picture, Setting, Sizes, sizes_text
from swift_export.parity.measure.compare import Difference
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.runtimes.base import RuntimeInfo

__all__ = [
    "BlockError",
    "Broken",
    "Checked",
    "Comparison",
    "Fault",
    "GoldenOutputs",
    "Outputs",
    "ParityReport",
    "RunTime",
    "WeightsTag",
]


#: Outputs of a model by their names.
Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """One output of one run, compared with the reference; ``sizes`` are those of the unknown dimensions."""

    input: str
    sizes: Sizes
    output: str
    difference: Difference
    allowed: Tolerance

    @property
    def passed(self) -> bool:
        """Whether the output passes."""
        return self.difference.within(self.allowed)

    def __str__(self) -> str:
        allowed = f"allowed {self.allowed.relative_l2:.2g} and {self.allowed.relative_max:.2g}"
        return f"input {self.input}, {sizes_text(self.sizes)}, output {self.output}: {self.difference} ({allowed})"


@dataclass(frozen=True)
class WeightsTag:
    """The weights that an artifact was checked against."""

    variant: str
    digest: str
    synthetic: bool


@dataclass(frozen=True)
class RunTime:
    """Seconds of one run: the first call, which may compile, and warm calls if requested.

    ``call_s`` is from arrays to arrays, ``compute_s`` with the input on the device and the outputs left there.
    """

    input: str
    sizes: Sizes
    first_s: float
    call_s: tuple[float, ...]
    compute_s: tuple[float, ...]


@dataclass(frozen=True)
class Fault:
    """The place of a fault: the first place in the model whose value differs from the reference's.

    ``place`` is a named scope, such as ``stage2/block3/attention``, ``block`` the scope around it, if there is one.
    ``difference`` is measured there, on ``input`` at ``sizes``; ``before`` is the last measured place, in the order of
    computation, that agrees.
    """

    place: str
    block: str | None
    before: str | None
    input: str
    sizes: Sizes
    difference: Difference

    def __str__(self) -> str:
        return f"first differs at {self.place} ({self.difference}), on {self.input} at {sizes_text(self.sizes)}"


@dataclass(frozen=True)
class BlockError:
    """The difference of one block's result from the reference's."""

    block: str
    difference: Difference


@dataclass(frozen=True)
class Checked:
    """One artifact in one runtime: comparisons of its outputs, and the settings read from its graphs.

    ``root`` is the user's path, ``file`` the path below it; ``load_s`` and ``peak_bytes`` belong to the runtime's
    process. ``blocks`` are the errors after every block, in order, if requested; ``fault`` is the place of a fault, if
    it was found.
    """

    root: str
    file: str
    weights: WeightsTag
    info: RuntimeInfo
    load_s: float
    peak_bytes: int
    times: tuple[RunTime, ...]
    comparisons: tuple[Comparison, ...]
    settings: tuple[Setting, ...]
    blocks: tuple[BlockError, ...] = ()
    picture: Picture | None = None
    fault: Fault | None = None

    @property
    def runtime(self) -> str:
        """Name and version."""
        return f"{self.info.name} {self.info.version}"

    @property
    def failed_comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons beyond their tolerance."""
        return tuple(comparison for comparison in self.comparisons if not comparison.passed)

    @property
    def wrong_settings(self) -> tuple[Setting, ...]:
        """The settings that do not match the weights."""
        return tuple(setting for setting in self.settings if not setting.holds)

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.failed_comparisons and not self.wrong_settings

    @property
    def failures(self) -> list[str]:
        """The failures, one line each."""
        who = f"{self.file}: {self.runtime} on {self.info.device}"
        where = f"; {self.fault}" if self.fault else ""
        figures = [f"{who}: {comparison}{where}" for comparison in self.failed_comparisons]
        said = [
            f"{self.file}: {setting.place}: {setting.name}: expected {setting.expected}, found {setting.found}"
            for setting in self.wrong_settings
        ]
        return figures + said


@dataclass(frozen=True)
class Broken:
    """An artifact whose run broke, with the runtime's title; ``reason`` is one line."""

    root: str
    file: str
    runtime: str
    reason: str


@dataclass(frozen=True, eq=False)
class GoldenOutputs:
    """The outputs of ``reference`` for one case of a check: the first item of a batch, or the complete first case.

    ``settings`` are the model's, ``input`` is the recipe of the case's arrays.
    """

    settings: Mapping[str, Any]
    input: GoldenInput
    reference: RuntimeInfo
    outputs: Outputs


@dataclass(frozen=True)
class ParityReport:
    """All artifacts of one check.

    ``device`` is the requested device, ``reference`` the runtime of the reference, ``inputs`` the inputs' origins.
    ``broken`` are the artifacts without outputs; ``notes`` lists other missing measurements with their reasons.
    ``golden`` has the reference's outputs for one case, to be stored by an export.
    """

    device: str
    reference: RuntimeInfo
    artifacts: tuple[Checked, ...]
    inputs: tuple[Mapping[str, Any], ...] = ()
    broken: tuple[Broken, ...] = ()
    notes: tuple[str, ...] = ()
    golden: tuple[GoldenOutputs, ...] = ()

    @property
    def failures(self) -> list[str]:
        """The failures, one line each."""
        found = [line for artifact in self.artifacts for line in artifact.failures]
        return [*(broken.reason for broken in self.broken), *found]

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    def raise_for_failures(self) -> None:
        """Raise CheckFailed with the first failure and the number of others."""
        if self.failures:
            first, *others = self.failures
            raise CheckFailed(first + (f"; and {len(others)} more" if others else ""))

    def measurements(self, format_name: str | None = None) -> tuple[Measurement, ...]:
        """The comparisons of one format (default: of all) in the manifest's form."""
        folder = None if format_name is None else find_format(format_name).folder
        return tuple(
            Measurement(
                file=artifact.file,
                runtime=artifact.runtime,
                device=self.device,
                input=comparison.input,
                batch=comparison.sizes.get("batch"),
                sizes=dict(comparison.sizes),
                output=comparison.output,
                relative_l2=comparison.difference.relative_l2,
                relative_max=comparison.difference.relative_max,
                tolerance=max(comparison.allowed.relative_l2, comparison.allowed.relative_max),
            )
            for artifact in self.artifacts
            if folder is None or artifact.file == folder or is_inside(artifact.file, folder)
            for comparison in artifact.comparisons
        )

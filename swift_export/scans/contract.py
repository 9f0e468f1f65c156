"""The input contract of a model: the preparation of its training scans. It is part of every artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from swift_export.errors import UsageError
from swift_export.scans.placement import (
    CENTRE,
    DATASETS,
    PLACEMENT_CHOICES,
    Placement,
    check_orientation,
    parse_placement,
)

__all__ = ["MAX_STRIDE", "InputContract", "contract_of"]

#: Limits of the frames between two frames of a clip, and of dropped frames. A run has thousands at most.
MAX_STRIDE, _MAX_DROPPED = 1000, 100_000

_UNKNOWN = "the weights do not tell which data set they were trained on"


@dataclass(frozen=True)
class InputContract:
    """The required preparation of a scan.

    Attributes:
        placement: a name, or a point ``X,Y,Z`` in mm; None if unknown.
        point: the point of MNI152, in mm, at index 48 of each axis.
        orientation: ``LAS`` or ``RAS``.
        drop_frames: frames dropped at the beginning and at the end of a run.
        stride: distance in the run between two frames of a clip.
        source: the origin of these values, in words.

    """

    placement: str | None
    point: tuple[float, ...] | None
    orientation: str | None
    drop_frames: tuple[int, ...] | None
    stride: int
    source: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputContract:
        """Read the result of `to_dict` from an untrusted file; raises ValueError for anything else."""
        name, orientation, dropped, stride, source = (
            values.get(key) for key in ("placement", "orientation", "drop_frames", "stride", "source")
        )
        if type(stride) is not int or not 1 <= stride <= MAX_STRIDE or not isinstance(source, str) or len(source) > 400:
            raise ValueError("expected stride and source in the form that swift-export writes")
        if name is None:
            return cls(None, None, None, None, stride, source)
        try:
            placement = parse_placement(name if isinstance(name, str) else "")
        except UsageError as error:
            raise ValueError(str(error)) from None
        counts = isinstance(dropped, (list, tuple)) and all(type(n) is int and 0 <= n <= _MAX_DROPPED for n in dropped)
        point = values.get("point")
        if placement.point is None or not isinstance(point, (list, tuple)) or tuple(point) != placement.point:
            raise ValueError(f"expected the point of swift-export's placement {placement.name}")
        if orientation not in ("LAS", "RAS") or not counts or len(dropped or ()) != 2:
            raise ValueError("expected placement, orientation and dropped frames in the form that swift-export writes")
        return cls(placement.name, placement.point, orientation, tuple(dropped or ()), stride, source)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def placed(self) -> Placement:
        """The placement, with this orientation and these frames to drop.

        Raises UsageError, with the available choices, if the placement is unknown.
        """
        if self.placement is None:
            raise UsageError(f"{self.source}: give --placement {PLACEMENT_CHOICES}")
        placement = parse_placement(self.placement)
        first, last = self.drop_frames or placement.drop_frames
        orientation = check_orientation(self.orientation or placement.orientation)
        return replace(placement, orientation=orientation, drop_frames=(first, last))

    def changed(
        self, placement: Placement | None, orientation: str | None, drop_frames: tuple[int, int] | None
    ) -> InputContract:
        """The contract with the choices of the user; voxel paddings, which belong to one array, do not change it."""
        contract = self
        if placement is not None and placement.point is not None:
            contract = _from(placement, self.stride, "given with --placement")
        if contract.placement is None:
            return contract
        if orientation in ("LAS", "RAS"):
            contract = replace(contract, orientation=orientation)
        return contract if drop_frames is None else replace(contract, drop_frames=drop_frames)

    def same_as(self, other: InputContract) -> bool:
        """Whether both result in the same array, regardless of their source."""
        return replace(self, source="") == replace(other, source="")

    @property
    def brief(self) -> str:
        """The decisive values, in a few words."""
        if self.placement is None:
            return "no placement"
        dropped = ",".join(map(str, self.drop_frames or (0, 0)))
        return f"placement {self.placement}, {self.orientation}, dropped {dropped}, stride {self.stride}"

    @property
    def text(self) -> str:
        """The whole contract in one sentence."""
        every = f", every {self.stride}. of the run" if self.stride > 1 else ""
        dropped = self.drop_frames or (0, 0)
        left_out = f" without its first {dropped[0]} and last {dropped[1]} frames" if any(dropped) else ""
        begin = (
            "MNI152-registered, brain-masked BOLD at 2 mm and native TR (0.72-0.8 s in training), 20 consecutive frames"
            f"{every}; z-scored over all non-background values of the run{left_out}, background set to the smallest z "
            "value; "
        )
        if self.placement is None or self.point is None:
            return f"{begin}placed on a 96x96x96 grid as the training data were: {self.source}"
        name = "" if "," in self.placement else f"placement {self.placement}: "
        return (
            f"{begin}{name}placed on a 96x96x96 grid whose index {CENTRE} is ({_point(self.point)}) mm; orientation "
            f"{self.orientation} ({self.source})"
        )


def contract_of(dataset: str | None, stride: int, default: str | None, source: str) -> InputContract:
    """The contract of weights trained on ``dataset`` (``dataset_name`` of the checkpoint), else the variant's default.

    ``default`` is the placement of the variant, if there is one, and ``source`` says why it is that.
    """
    known = {name.lower(): placement for name, placement in DATASETS.items()}
    if dataset is not None and dataset.lower() in known:
        return _from(known[dataset.lower()], stride, f"the checkpoint's dataset_name is {dataset}")
    if default is not None:
        return _from(parse_placement(default), stride, source)
    unknown = _UNKNOWN if dataset is None else f"the checkpoint's dataset_name is {dataset}, which is not known here"
    return InputContract(None, None, None, None, stride, unknown)


def _from(placement: Placement, stride: int, source: str) -> InputContract:
    note = source if placement.note is None else f"{source}; {placement.note}"
    return InputContract(placement.name, placement.point, placement.orientation, placement.drop_frames, stride, note)


def _point(point: Sequence[float]) -> str:
    return ",".join(f"{mm:g}" for mm in point)

"""The options of a scan in a form: those of ``swift-export run``, by the same names and with the same errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swift_export.errors import InputError, UsageError
from swift_export.features.extractor import Backbone
from swift_export.features.feature_run import default_kind
from swift_export.features.output_kinds import OutputKind
from swift_export.scans.clip_windows import window_count
from swift_export.scans.placement import check_orientation, check_positive, parse_drop_frames, parse_placement
from swift_export.scans.read_options import Reading, reading_for
from swift_export.system.text import shown

__all__ = ["FILES", "OPTIONS", "AskedScan", "asked_scan"]

#: The fields that are files, and the names that the files get: readers find the sidecar beside the scan.
FILES = {"scan": "scan.nii", "mask": "mask.nii", "sidecar": "scan.json"}
#: The other fields.
OPTIONS = (
    "output_kind",
    "placement",
    "orientation",
    "drop_frames",
    "start",
    "windows",
    "stride",
    "resample_tr",
    "allow_crop",
    "strict",
)
_SWITCH = {"": False, "false": False, "0": False, "off": False, "true": True, "1": True, "on": True}


@dataclass(frozen=True)
class AskedScan:
    """How to read a scan, and what to compute of it."""

    reading: Reading
    kind: OutputKind


def asked_scan(fields: Mapping[str, str], backbone: Backbone) -> AskedScan:
    """The options in the fields of a form; a field that is absent or empty leaves the choice to the model.

    Raises InputError or UsageError for a value that cannot be, and for a placement that nothing states.
    """
    given = {name: value.strip() for name, value in fields.items() if value.strip()}
    placement, orientation, drop = (given.get(name) for name in ("placement", "orientation", "drop_frames"))
    start, step = _whole(given, "start", 0), _whole(given, "stride", 1)
    resample_tr = None
    if "resample_tr" in given:
        resample_tr = _number(given["resample_tr"])
        check_positive("--resample-tr", resample_tr)
    reading = reading_for(
        backbone.contract,
        None if placement is None else parse_placement(shown(placement)),
        None if orientation is None else check_orientation(shown(orientation)),
        None if drop is None else parse_drop_frames(shown(drop)),
        start=start or 0,
        windows=window_count(shown(given.get("windows", "all"))),
        step=step,
        resample_tr=resample_tr,
        allow_crop=_switch(given, "allow_crop"),
        strict=_switch(given, "strict"),
    )
    return AskedScan(reading, backbone.kind(shown(given.get("output_kind", default_kind(backbone)))))


def _whole(given: Mapping[str, str], name: str, least: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) < least:
        raise UsageError(f"--{name} {shown(text)}: expected a number of frames of at least {least}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--resample-tr {shown(text)}: expected a positive number") from None


def _switch(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "")
    if text.lower() not in _SWITCH:
        raise InputError(f"{name}: expected true or false, found {shown(text)}")
    return _SWITCH[text.lower()]

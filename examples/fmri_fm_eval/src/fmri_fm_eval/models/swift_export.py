"""SwiFT from an ONNX file, as a model of fmri-fm-eval: windows of 20 frames, 160 patch embeddings of 288 channels."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from fmri_fm_eval import nisc
from fmri_fm_eval.models.base import Embeddings
from fmri_fm_eval.models.registry import register_model
from torch import Tensor, nn

#: The first voxel and the steps of FSL's MNI152 grid of 2 mm, in mm, on which the suite reads scans.
FIRST, STEP = np.array([90, -126, -72]), np.array([-2, 2, 2])
#: Seconds between frames in training; samples within 0.1 s of it are taken as they are.
REPETITION_TIME, CLOSE = 0.8, 0.1


class SwiftExport(nn.Module):
    """The backbone in ONNX Runtime."""

    __space__ = "mni"

    def __init__(self, artifact: Path, threads: int = 0) -> None:
        super().__init__()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        stated = self.session.get_modelmeta().custom_metadata_map.get("swift_export.input")
        self.point = json.loads(stated)["point"] if stated else None
        if self.point is None:
            raise ValueError(f"{artifact}: expected an ONNX file of SwiFT that states its placement; export it again")
        (self.input,) = self.session.get_inputs()
        (self.output,) = self.session.get_outputs()
        if len(self.input.shape) != 6 or len(self.output.shape) != 6:
            raise ValueError(f"{artifact}: expected clips in and features out; export it with --output-kind features")

    def forward(self, batch: dict[str, Tensor]) -> Embeddings:
        """Patch embeddings (batch, tokens, channels) of ``bold`` (batch, 1, H, W, D, frames)."""
        clips = batch["bold"]
        (features,) = self.session.run([self.output.name], {self.input.name: clips.detach().cpu().float().numpy()})
        tokens = features.reshape(*features.shape[:2], -1).swapaxes(1, 2)
        patches = torch.from_numpy(np.ascontiguousarray(tokens))
        return Embeddings(cls_embeds=None, reg_embeds=None, patch_embeds=patches.to(clips.device))


class SwiftExportTransform:
    """Turns a sample of the suite into a clip: ``bold`` (frames, voxels) becomes (1, H, W, D, frames)."""

    def __init__(self, point: list[float], size: tuple[int, int, int], frames: int) -> None:
        # (z, y, x), as the suite reads images.
        self.mask = nisc.read_nifti_data(nisc.fetch_schaefer(400, space="mni")) > 0
        self.size, self.frames = size, frames
        # The voxel at the point lies at the centre of the model's grid.
        voxel = np.round((np.array(point) - FIRST) / STEP).astype(int)
        self.front = np.array(size) // 2 - voxel

    def __call__(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace ``bold`` by a clip of its first frames."""
        series = (sample["bold"] * sample["std"] + sample["mean"]).numpy().astype(np.float64)
        series = _resampled(series, float(sample["tr"]))
        brain = series[series != 0]
        z = (series - brain.mean()) / brain.std(ddof=1)
        background = z[series != 0].min()
        z[series == 0] = background
        # A sample that is too short goes on with its last frame, as in the suite.
        z = z[np.minimum(np.arange(self.frames), len(z) - 1)]
        volume = np.full((self.frames, *self.mask.shape), background)
        volume[:, self.mask] = z
        clip = np.full((*self.size, self.frames), background, np.float32)
        ours, theirs = zip(*map(_overlap, self.front, volume.shape[:0:-1], self.size), strict=True)
        clip[ours] = volume.transpose(3, 2, 1, 0)[theirs]
        sample["bold"] = torch.from_numpy(clip[None])
        return sample


def _overlap(front: int, length: int, size: int) -> tuple[slice, slice]:
    """The part of an axis of the model's grid that an axis of the image covers, in indices of both."""
    start, end = max(front, 0), min(front + length, size)
    return slice(start, end), slice(start - front, end - front)


def _resampled(series: np.ndarray, seconds: float) -> np.ndarray:
    """Frames at the repetition time of the training data, interpolated linearly."""
    if abs(seconds - REPETITION_TIME) < CLOSE:
        return series
    count = max(1, round(len(series) * seconds / REPETITION_TIME))
    places = np.clip((np.arange(count) + 0.5) * len(series) / count - 0.5, 0, len(series) - 1)
    first = places.astype(int)
    second = np.minimum(first + 1, len(series) - 1)
    weight = (places - first)[:, None]
    return series[first] * (1 - weight) + series[second] * weight


@register_model
def swift_export(artifact: str | None = None, threads: int = 0) -> tuple[SwiftExportTransform, SwiftExport]:
    """The model and its transform; ``artifact`` is the ONNX file, by default that of ``SWIFT_EXPORT_ONNX``."""
    path = artifact or os.environ.get("SWIFT_EXPORT_ONNX")
    if path is None:
        raise ValueError("artifact: expected an ONNX file; give its path, or set SWIFT_EXPORT_ONNX")
    model = SwiftExport(Path(path), threads)
    *_, h, w, d, frames = model.input.shape
    return SwiftExportTransform(model.point, (h, w, d), frames), model

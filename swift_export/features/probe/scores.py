"""Scores of predictions for participants that a probe has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from swift_export.features.probe.samples import Samples

__all__ = ["MAIN", "NAMES", "Score", "chance", "predicted_classes", "probabilities", "scores_of", "summarised"]

#: The score that a permutation test and a picture show, by kind.
MAIN = {"classification": "auroc", "regression": "r2"}
#: The scores in words.
NAMES = {
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "r2": "R2",
    "r": "Pearson r",
    "mae": "mean absolute error",
}


@dataclass(frozen=True)
class Score:
    """A score of all predictions together, and of each fold; their mean and standard deviation (n - 1)."""

    pooled: float
    folds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over folds."""
        return float(np.mean(self.folds))

    @property
    def deviation(self) -> float:
        """The standard deviation over folds."""
        return float(np.std(self.folds, ddof=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"mean": self.mean, "sd": self.deviation, "pooled": self.pooled, "folds": list(self.folds)}


def predicted_classes(outputs: Float64[np.ndarray, "rows outputs"]) -> np.ndarray:
    """The numbers of the likeliest classes; one output is the logit of the second of two."""
    return (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(1)


def probabilities(outputs: Float64[np.ndarray, "rows outputs"]) -> Float64[np.ndarray, "rows classes"]:
    """The probability of every class."""
    logits = np.hstack([np.zeros_like(outputs), outputs]) if outputs.shape[1] == 1 else outputs
    odds = np.exp(logits - logits.max(1, keepdims=True))
    shares: np.ndarray = odds / odds.sum(1, keepdims=True)
    return shares


def scores_of(samples: Samples, rows: np.ndarray, outputs: Float64[np.ndarray, "rows outputs"]) -> dict[str, float]:
    """The scores of the outputs for the participants ``rows``."""
    truth = samples.targets[rows]
    return _of_classes(truth, outputs) if samples.kind == "classification" else _of_quantities(truth, outputs[:, 0])


def chance(samples: Samples) -> dict[str, float]:
    """The scores without any knowledge of embeddings: of the most frequent class, or of the mean."""
    if samples.kind == "classification":
        sizes = list(samples.sizes.values())
        return {"auroc": 0.5, "balanced_accuracy": 1 / len(sizes), "accuracy": max(sizes) / sum(sizes)}
    return {"r2": 0.0, "r": 0.0, "mae": float(np.abs(samples.targets - np.mean(samples.targets)).mean())}


def summarised(samples: Samples, parts: Sequence[np.ndarray], outputs: Float64[np.ndarray, "rows outputs"]) -> Any:
    """Each `Score` by name; ``parts`` are the participants held out by the folds, ``outputs`` those for all."""
    folds = [scores_of(samples, rows, outputs[rows]) for rows in parts]
    pooled: Mapping[str, float] = scores_of(samples, np.arange(len(outputs)), outputs)
    return {name: Score(pooled[name], tuple(fold[name] for fold in folds)) for name in pooled}


def _of_classes(truth: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    found = predicted_classes(outputs)
    shares = probabilities(outputs)
    if shares.shape[1] == 2:
        area = roc_auc_score(truth, outputs[:, 0])
    else:
        # One class against all others, each with the same weight.
        area = np.mean([roc_auc_score(truth == number, shares[:, number]) for number in range(shares.shape[1])])
    return {
        "auroc": float(area),
        "balanced_accuracy": float(balanced_accuracy_score(truth, found)),
        "accuracy": float((found == truth).mean()),
    }


def _of_quantities(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    error, spread = ((truth - found) ** 2).sum(), ((truth - truth.mean()) ** 2).sum()
    deviations = truth - truth.mean(), found - found.mean()
    norm = np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum())
    return {
        "r2": float(1 - error / spread) if spread else 0.0,
        # A constant prediction does not correlate.
        "r": float(deviations[0] @ deviations[1] / norm) if norm else 0.0,
        "mae": float(np.abs(truth - found).mean()),
    }

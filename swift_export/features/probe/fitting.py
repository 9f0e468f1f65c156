"""Fits a linear probe, and estimates by nested cross-validation how it does on other participants.

Standardisation, strength of regularisation and probe come from the participants of the training folds alone: an inner
cross-validation among them chooses the strength, the held-out participants are only predicted. The final probe is
fitted to all participants in the same way.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from swift_export.errors import InputError, UsageError
from swift_export.features.probe.samples import Samples
from swift_export.features.probe.scores import MAIN, Score, scores_of, summarised
from swift_export.system.progress import Progress, ignore_line
from swift_export.system.text import shown

if TYPE_CHECKING:
    from sklearn.model_selection import GridSearchCV

__all__ = ["Fitted", "Linear", "check_numbers", "fit"]

#: Strengths of regularisation to choose from, strongest first: sklearn's C of logistic regression, alpha of ridge.
_C = tuple(10.0**n for n in range(-5, 3))
_ALPHA = tuple(10.0**n for n in range(6, -3, -1))
_INNER_FOLDS = 5
_MOST_STEPS = 5000


@dataclass(frozen=True)
class Linear:
    """A standardisation and the linear layer after it; ``strength`` is what was chosen."""

    weight: Float64[np.ndarray, "outputs channels"]
    bias: Float64[np.ndarray, " outputs"]
    mean: Float64[np.ndarray, " channels"]
    scale: Float64[np.ndarray, " channels"]
    strength: float


@dataclass(frozen=True)
class Fitted:
    """The final probe and the estimate of its scores.

    ``outputs`` are those for held-out participants, by row; ``parts`` are the rows that each fold held out;
    ``strengths`` what each chose. ``p_value`` is that of a permutation test, None if none was made.
    """

    probe: Linear
    scores: dict[str, Score]
    outputs: Float64[np.ndarray, "participants outputs"]
    parts: tuple[np.ndarray, ...]
    strengths: tuple[float, ...]
    p_value: float | None


def fit(
    samples: Samples, *, folds: int = 5, seed: int = 0, permutations: int = 0, progress: Progress = ignore_line
) -> Fitted:
    """Fit a logistic regression, multinomial for more than two classes, or a ridge regression.

    With ``permutations``, the cross-validation is repeated that often with targets exchanged between participants; the
    p-value is the share of all runs, this one included, that reach its main score. Raises UsageError for numbers out of
    range, InputError for too few participants.
    """
    check_numbers(folds, seed, permutations)
    _check_size(samples, folds)
    with _quick_and_quiet():
        parts, outputs, strengths = _cross_validated(samples, folds, seed, progress)
        scores = summarised(samples, parts, outputs)
        progress("fitting the probe to all participants")
        probe = _linear(_searched(samples, np.arange(len(samples.targets)), seed))
        p_value = None
        if permutations:
            p_value = _p_value(samples, scores[MAIN[samples.kind]].mean, folds, seed, permutations, progress)
    return Fitted(probe, scores, outputs, parts, strengths, p_value)


def check_numbers(folds: int, seed: int, permutations: int) -> None:
    """Raise UsageError for numbers out of range."""
    ranges = {"--folds": (folds, 2, 100), "--seed": (seed, 0, 2**32 - 1), "--permutations": (permutations, 0, 100_000)}
    for option, (value, least, most) in ranges.items():
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: expected a number from {least} to {most}")


def _check_size(samples: Samples, folds: int) -> None:
    """Each fold holds out one participant of each class, and leaves two, one for each side of a split in the training
    folds; without classes, it holds out two, which R2 needs.
    """
    if samples.kind == "classification":
        name, fewest = min(samples.sizes.items(), key=lambda item: item[1])
        what, found = f"participants of each class of {shown(samples.target)}", f"{fewest} of {shown(name, 60)}"
        needed, possible = folds if folds > 2 else 4, fewest
    else:
        fewest = len(samples.targets)
        what, found = "participants", str(fewest)
        needed, possible = max(2 * folds, 6), fewest // 2
    if fewest < needed:
        remedy = f"use --folds {possible}" if possible >= 3 else "more participants are needed"
        raise InputError(f"--folds {folds}: expected at least {needed} {what}, found {found}; {remedy}")


def _cross_validated(
    samples: Samples, folds: int, seed: int, progress: Progress
) -> tuple[tuple[np.ndarray, ...], np.ndarray, tuple[float, ...]]:
    """The rows that each fold held out, the outputs for all rows, and the strengths chosen."""
    outputs = np.zeros((len(samples.targets), 1 if len(samples.classes) < 3 else len(samples.classes)))
    parts, strengths = [], []
    splits = list(_splitter(samples, folds, seed).split(samples.embeddings, samples.targets))
    for number, (training, held_out) in enumerate(splits, 1):
        progress(f"fold {number} of {folds}")
        found = _linear(_searched(samples, training, seed))
        standard = (samples.embeddings[held_out] - found.mean) / found.scale
        outputs[held_out] = standard @ found.weight.T + found.bias
        parts.append(held_out)
        strengths.append(found.strength)
    return tuple(parts), outputs, tuple(strengths)


def _splitter(samples: Samples, folds: int, seed: int) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold

    stratified = samples.kind == "classification"
    return (StratifiedKFold if stratified else KFold)(folds, shuffle=True, random_state=seed)


def _searched(samples: Samples, rows: np.ndarray, seed: int) -> GridSearchCV:
    """Choose the strength for these participants, and fit to all of them."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    targets = samples.targets[rows]
    if samples.kind == "classification":
        model, name, values = LogisticRegression(max_iter=_MOST_STEPS), "logisticregression__C", _C
        scoring, fewest = "neg_log_loss", int(np.bincount(targets).min())
    else:
        model, name, values = Ridge(), "ridge__alpha", _ALPHA
        scoring, fewest = "neg_mean_squared_error", len(rows)
    inner = _splitter(samples, max(2, min(_INNER_FOLDS, fewest)), seed)
    # Among equals the first, which is the strongest.
    search = GridSearchCV(make_pipeline(StandardScaler(), model), {name: values}, scoring=scoring, cv=inner)
    return search.fit(samples.embeddings[rows], targets)


def _linear(search: GridSearchCV) -> Linear:
    scaler, model = (step for _, step in search.best_estimator_.steps)
    (strength,) = search.best_params_.values()
    return Linear(
        np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), scaler.mean_, scaler.scale_, float(strength)
    )


def _p_value(samples: Samples, score: float, folds: int, seed: int, count: int, progress: Progress) -> float:
    rng = np.random.default_rng(seed)
    reached = 1
    for number in range(1, count + 1):
        progress(f"permutation {number} of {count}")
        shuffled = replace(samples, targets=rng.permutation(samples.targets))
        parts, outputs, _ = _cross_validated(shuffled, folds, seed, ignore_line)
        main = MAIN[samples.kind]
        reached += bool(np.mean([scores_of(shuffled, rows, outputs[rows])[main] for rows in parts]) >= score)
    return float(reached / (count + 1))


@contextmanager
def _quick_and_quiet() -> Iterator[None]:
    """With one thread: hundreds of small fits wait longer for threads than these would save.

    Without warnings of steps that did not suffice at a weak regularisation, which is then not the best.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield

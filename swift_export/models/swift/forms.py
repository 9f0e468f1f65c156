"""The exported form of each shifted block, chosen by a bound on its scores that holds for every input.

A token attends to another region of its window with e^-100 of the unmasked weight. If no input can make such a score
exceed the token's score with itself by more than a limit, the sum of these weights is below `VISIBLE`, a 64th of a
rounding in the precision. The form ``regions``, which omits them, then computes the same numbers. Otherwise the mask
stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from swift_export.models.swift.config import MASK_VALUE, SwiFTConfig, WindowPlan
from swift_export.models.swift.precision import half_type
from swift_export.models.swift.score_bound import score_excess
from swift_export.models.swift.settings import SwiFTSettings

__all__ = ["VISIBLE", "BlockForm", "Forms", "by_name", "choose_forms", "excess_limit", "forms_text"]

#: Weights of masked keys that are not omitted, relative to the weight of the query's own token, by element type. A sum
#: rounds to 2^-24 in float32, 2^-11 in float16, 2^-8 in bfloat16: no input moves a result by more than a 64th of that.
VISIBLE = {"float32": 2.0**-30, "float16": 2.0**-17, "bfloat16": 2.0**-14}


@dataclass(frozen=True)
class BlockForm:
    """The form of a shifted block (see `backbone.partition`), with the bound and the limit that decided it."""

    form: str
    excess: float
    limit: float


#: Forms of the shifted blocks, by stage and block number.
Forms = Mapping[tuple[int, int], BlockForm]


def choose_forms(config: SwiFTConfig, tensors: Mapping[str, np.ndarray], settings: SwiFTSettings) -> Forms:
    """The form of every shifted block."""
    forms = {}
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            plan = config.window_plan(stage, block, settings.frames)
            if plan.shifted:
                name = f"model.layers.{stage}.blocks.{block}"
                excess = score_excess(tensors, name, config.num_heads[stage], plan)
                limit = excess_limit(plan, settings.precision)
                # NaN compares false, so weights without a bound keep the mask.
                allowed = settings.attention == "auto" and excess <= limit
                forms[stage, block] = BlockForm("regions" if allowed else "masked", excess, limit)
    return forms


def by_name(forms: Forms) -> dict[str, BlockForm]:
    """The forms by the block names in files, ``stageI/blockJ``."""
    return {f"stage{stage}/block{block}": found for (stage, block), found in forms.items()}


def forms_text(forms: Forms) -> str:
    """JSON for the metadata of a file; a missing bound is null."""
    rounded = {
        name: {
            "form": found.form,
            "excess": round(found.excess, 1) if math.isfinite(found.excess) else None,
            "limit": round(found.limit, 1),
        }
        for name, found in by_name(forms).items()
    }
    return json.dumps(rounded, sort_keys=True, allow_nan=False)


def excess_limit(plan: WindowPlan, precision: str = "float32") -> float:
    """The excess up to which all masked keys of a window weigh less than `VISIBLE` of the query's own token.

    How scores are rounded in half precision does not matter: the exact softmax changes by less than that.
    """
    return -MASK_VALUE + math.log(VISIBLE[half_type(precision) or "float32"]) - math.log(plan.tokens)

"""Writes docs/conformance.md: passing cases, rejected ones with reasons, and wrong results."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from _conformance.judging import OUTCOMES, Verdict

__all__ = ["counting", "page"]

#: Order of the rows in the table of types.
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)

COLUMNS = ("pass", "unsupported", "wrong", "rejected", "broke")


def counting(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The applicable cases: JAX runs them, and ONNX has equivalents."""
    return [v for v in verdicts if v.outside is None and v.outcome != "jax"]


def page(default: Sequence[Verdict], wide: Sequence[Verdict], versions: Mapping[str, str]) -> str:
    """The page for both modes of jax."""
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        "# Conformance of the StableHLO to ONNX converter",
        "",
        "Made by `scripts/conformance --all`. Each case of JAX's own harness of primitives",
        "(`jax._src.internal_test_util.test_harnesses`) is exported by `jax.export`, converted, run in ONNX Runtime",
        "twice, without and with its optimisations, and compared with JAX.",
        "",
        f"Versions: {named}.",
        "",
        "- **pass**: integers and booleans are equal. Floats agree within the tolerance of JAX's tests for the type",
        "  (float64 1e-15, float32 1e-6, float16 1e-3, bfloat16 1e-2, relative and absolute; float32 convolutions",
        "  1e-4, as in JAX's test of these cases). NaN, infinities and the sign of zero are in the same positions.",
        "  Results with and without the runtime's optimisations agree with each other, too.",
        "- Results beyond these tolerances pass if one of the rules in `settling.py` shows that they are right; they",
        "  are listed with the rule. Factorizations are judged by their errors against float64, at most four times",
        "  JAX's own or eight roundings of the largest number, those in float64 by eight roundings for each row;",
        "  vectors of `eigh` and `svd`, whose signs and bases are free, by the products that they must give and by",
        "  being orthonormal, within eight roundings for each row.",
        "- **unsupported**: the converter rejected the module with a reason, and wrote no file.",
        "- **wrong**: the result differs. **rejected**: ONNX Runtime did not load or run the file. **broke**: the",
        "  converter raised an unexpected error. None of these should occur.",
        "- Not applicable: cases that JAX itself does not run, and those below whose results are not determined.",
        "",
        "| | cases | applicable | pass | unsupported | wrong | rejected | broke |",
        "|---|---|---|---|---|---|---|---|",
        _summary("default types", default),
        _summary("64-bit types enabled", wide),
        "",
        "## By primitive",
        "",
        *_both(default, wide, lambda v: v.primitive, sorted({v.primitive for v in counting(wide)}), "primitive"),
        "",
        "## By type",
        "",
        *_both(default, wide, lambda v: v.dtype, DTYPES, "type"),
        "",
        *_settled([*default, *wide]),
        *_listed("## Wrong, rejected or broken", [*default, *wide], ("wrong", "rejected", "broke")),
        *_refusals(wide),
        *_outside(default),
        *_failing_in_jax(wide),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _summary(name: str, verdicts: Sequence[Verdict]) -> str:
    counted = counting(verdicts)
    outcomes = Counter(v.outcome for v in counted)
    share = outcomes["pass"] / len(counted) if counted else 0.0
    others = " | ".join(str(outcomes[c]) for c in COLUMNS[1:])
    return f"| {name} | {len(verdicts)} | {len(counted)} | {outcomes['pass']} ({share:.1%}) | {others} |"


def _both(
    default: Sequence[Verdict], wide: Sequence[Verdict], key: Callable[[Verdict], str], rows: Sequence[str], name: str
) -> list[str]:
    """Counts of applicable cases: passing ones in both modes, other outcomes with 64-bit types."""
    modes = [Counter((key(v), v.outcome) for v in counting(verdicts)) for verdicts in (default, wide)]
    lines = [
        f"| {name} | default: pass | of | 64-bit: pass | of | unsupported | wrong | rejected | broke |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = []
        for mode in modes:
            total = sum(mode[row, outcome] for outcome in OUTCOMES)
            cells += [str(mode[row, "pass"]), str(total)]
        cells += [str(modes[1][row, outcome]) for outcome in COLUMNS[1:]]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def _listed(title: str, verdicts: Sequence[Verdict], outcomes: Sequence[str]) -> list[str]:
    found = [v for v in verdicts if v.outcome in outcomes]
    lines = [f"- {v.outcome}: `{v.name}`: {_plain(v.reason)}" for v in found]
    return [title, "", *(lines or ["None."]), ""]


def _settled(verdicts: Sequence[Verdict]) -> list[str]:
    by_name = {v.name: v for v in verdicts if v.outcome == "pass" and v.reason}
    lines = [f"- `{name}`: {_plain(v.reason)}" for name, v in sorted(by_name.items())]
    return ["## Passing with a result that differs from JAX's", "", *(lines or ["None."]), ""]


def _refusals(verdicts: Sequence[Verdict]) -> list[str]:
    reasons = Counter((v.primitive, _general(v.reason)) for v in counting(verdicts) if v.outcome == "unsupported")
    lines = [
        "## Rejected, with reasons",
        "",
        "With 64-bit types enabled, which includes all cases of the default types.",
        "",
    ]
    lines += ["| primitive | cases | reason |", "|---|---|---|"]
    lines += [f"| {primitive} | {n} | {_plain(reason)} |" for (primitive, reason), n in sorted(reasons.items())]
    return [*lines, ""] if reasons else [*lines[:2], "None.", ""]


def _outside(verdicts: Sequence[Verdict]) -> list[str]:
    table: dict[tuple[str, str], Counter[str]] = {}
    for v in verdicts:
        if v.outside is not None:
            table.setdefault((v.primitive, v.outside), Counter())[v.outcome] += 1
    lines = [
        "## Not applicable",
        "",
        "| primitive | reason | cases | " + " | ".join(OUTCOMES) + " |",
        "|---" * (len(OUTCOMES) + 3) + "|",
    ]
    for (primitive, reason), outcomes in sorted(table.items()):
        counts = " | ".join(str(outcomes[o]) for o in OUTCOMES)
        lines.append(f"| {primitive} | {_plain(reason)} | {outcomes.total()} | {counts} |")
    return [*lines, ""]


def _failing_in_jax(verdicts: Sequence[Verdict]) -> list[str]:
    failing = [v for v in verdicts if v.outcome == "jax" and v.outside is None]
    lines = [f"- `{v.name}`: {_plain(v.reason)[:200]}" for v in failing]
    return ["## Cases that JAX does not run", "", *(lines or ["None."]), ""]


def _general(reason: str) -> str:
    """A reason without its location and numbers, so that equal reasons of many cases are one row."""
    op, _, rest = reason.partition(": ")
    op = op.split(" at ")[0]
    return f"{op}: {re.sub(r'[0-9]+', 'N', rest)}"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")

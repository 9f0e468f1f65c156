"""A process that judges cases by name and prints each verdict as a line of JSON."""

from __future__ import annotations

import json
import os
import sys
import warnings

__all__: list[str] = []


def main() -> None:
    """Read case names from standard input; announce each case before its verdict."""
    import jax

    jax.config.update("jax_enable_x64", sys.argv[1] == "x64")
    warnings.simplefilter("ignore")
    from _conformance.cases import read_cases
    from _conformance.judging import judge

    # Keep the output of libraries out of the verdicts.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # The order of the harness's cases differs from process to process; their names do not.
    cases = {case.name: case for case in read_cases()}
    for count, line in enumerate(sys.stdin):
        case = cases[line.strip()]
        print(json.dumps({"begin": case.name}), file=answers, flush=True)
        print(json.dumps(judge(case).to_dict()), file=answers, flush=True)
        if count % 100 == 99:
            jax.clear_caches()


if __name__ == "__main__":
    main()

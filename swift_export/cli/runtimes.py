"""``runtimes``: the installed runtimes, and how to install the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from swift_export.cli.answers import Answer, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import EXTRAS

if TYPE_CHECKING:
    from swift_export.runtimes.registry import Runtime

__all__ = ["register", "runtimes"]


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(epilog=examples("swift-export runtimes", "swift-export runtimes --json"))(runtimes)


@json_option("runtimes")
def runtimes(*, answer: Answer) -> None:
    """List the runtimes that check artifacts, which are installed, and how to install the others."""
    from swift_export.runtimes.registry import RUNTIMES

    # The reference runs no artifacts and is part of every check.
    found = [_describe(runtime) for runtime in RUNTIMES.values() if runtime.reads]
    extras = [_describe_extra(name) for name in EXTRAS]
    if answer.wanted:
        answer.add(runtimes=found, extras=extras)
    else:
        _show(found, extras, Console())


def _describe(runtime: Runtime) -> dict[str, Any]:
    from swift_export.runtimes.registry import missing, remedy, version

    return {
        "name": runtime.name,
        "title": runtime.title,
        "reads": list(runtime.reads),
        "installed": runtime.installed,
        "version": version(runtime),
        "devices": list(runtime.precisions),
        "precisions": {device: list(names) for device, names in runtime.precisions.items()},
        "missing": list(missing(runtime)),
        "install": remedy(runtime),
    }


def _describe_extra(name: str) -> dict[str, Any]:
    extra = EXTRAS[name]
    return {
        "name": name,
        "adds": extra.adds,
        "installed": not extra.absent(),
        "install": f"pip install 'swift-export[{name}]'",
    }


def _show(found: list[dict[str, Any]], extras: list[dict[str, Any]], console: Console) -> None:
    rows = [
        (
            runtime["name"],
            ", ".join(runtime["reads"]),
            runtime["version"] if runtime["installed"] else "not installed",
            "; ".join(f"{device}: {', '.join(names)}" for device, names in runtime["precisions"].items()),
        )
        for runtime in found
    ]
    console.table(("runtime", "reads", "version", "devices: precisions"), rows)
    absent = {runtime["name"]: runtime for runtime in found if not runtime["installed"]}
    if absent:
        console.line("")
        console.line("how to install the others", style="bold")
        console.facts({name: runtime["install"] for name, runtime in absent.items()})
    console.line("")
    here = [(extra["name"], "yes" if extra["installed"] else "no", extra["adds"]) for extra in extras]
    console.table(("extra", "installed", "adds"), here)
    console.line("install an extra with: pip install 'swift-export[NAME]'")

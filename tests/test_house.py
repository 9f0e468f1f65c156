"""The house keeps its order: folders import downward, files do not import in circles, no file holds two subjects.

Every import counts, at the head of a file, inside a function or for types alone: each says what a module has to know.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import swift_export

PACKAGE = Path(swift_export.__file__).parent
NAME = PACKAGE.name

#: From the top down: a module may import from its own room and from those in the lines below, not from its neighbours.
ORDER = (
    ("cli",),
    # The commands as Python functions, SwiFT's before those of any model.
    ("exporting_swift",),
    ("exporting", "conversion", "quantizing"),
    ("serving",),  # scans are served, too
    ("features", "benchmark"),
    ("parity",),
    ("artifacts",),
    ("lowering",),
    ("quantization",),  # of ONNX files that lowering wrote
    ("sources",),  # files to convert, and what runs them
    ("runtimes",),  # the reference runs a model
    ("models",),
    ("converter",),
    ("scans",),
    ("formats",),
    ("system",),
    ("errors",),
    ("_version",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}

#: Who knows SwiFT in particular; every other room takes a `Model`.
SWIFT, KNOW_SWIFT = f"{NAME}.models.swift", {"models", "exporting_swift", "cli"}

#: Modules that stand outside of the order: where the package begins.
DOORS = {NAME, f"{NAME}.__main__"}

#: Lines of a module, comments and docstrings included.
MOST_LINES = 400

#: Names that several modules share because they mean the same in each, with what that is.
SAME_NAMES = {
    "onnx": "the format: what is read of such a file, how it is written",
    "savedmodel": "the format: what is read of such a folder, how it is written",
    "stablehlo": "the format: what is read of such a file, how it is written",
    "portable": "portable bytecode: how it is made, how it is run",
    "tensorflow": "the framework: how it is imported, how it runs an artifact",
    "exporting": "the export commands: their function, and their command line",
    "quantizing": "the command `quantize`: the function, and its command line",
    "checking": "the command `check`: the function, and its command line",
    "preparing": "the command `prepare`: the function, and its command line",
    "runtimes": "the room, and the command that lists what is in it",
    "models": "the room, and the command that lists what is in it",
    "metadata": "the essentials: what an export states, where it lies in a file",
    "provenance": "where something comes from: a model's weights, a report's numbers",
    "structure": "settings read off a graph: of a SwiFT, of any artifact",
    "swift": "SwiFT: the folder of all that only it has, and its backbone",
    "weights": "SwiFT's weights: the folder, and the class",
    "charts": "numbers drawn: a check's report, a scan's picture",
    "page": "a whole page: a check's report, a scan's picture",
    "layout": "where files lie: those of an artifact, and the command that lays them out for servers",
}


#: The modules of formats that hold neither jax nor a framework.
LIGHT = ("argument_names", "bytecode", "element_types", "facts", "metadata", "scopes", "signature")


#: What text calls a file of this repository, and a module of the package or a name in one.
_PATH = re.compile(r"(?<![\w./-])(?:docs|scripts|swift_export|tests)/[\w.-]+(?:/[\w.-]+)*(?<![.-])")
_DOTTED = re.compile(rf"(?<![\w./-])({NAME}(?:\.[A-Za-z_]\w*)+)")


#: Whose mentions of files and modules are held to what there is.
TEXTS = ("*.md", "docs/*.md", f"{NAME}/**/*.py", f"{NAME}/**/*.j2", "scripts/**/*.py")
#: Files that others have, or that a command writes.
ELSEWHERE = {"docs/gpu-report.md", "tests/export_harnesses_multi_platform_test.py"}


def modules() -> dict[str, Path]:
    """All modules of the package by dotted name; a folder's ``__init__`` has the folder's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [NAME, *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, known: Mapping[str, object]) -> Iterator[str]:
    """Modules of the package that a file imports, at any depth of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole path"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield str(node.module)


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports."""
    known = modules()
    return {
        name: {target for target in imports(ast.parse(path.read_text()), known) if target != name}
        for name, path in known.items()
    }


def room(module: str) -> str:
    return module.split(".")[1]


def reached(start: str, found: Mapping[str, set[str]]) -> set[str]:
    """All modules that come with one."""
    seen: set[str] = set()
    stack = [start]
    while stack:
        seen |= (new := found[stack.pop()] - seen)
        stack += new
    return seen


def upward(found: Mapping[str, set[str]]) -> list[str]:
    """Imports that do not go downward, or whose room has no place in the order."""
    return sorted(
        f"{importer} imports {imported}"
        for importer, targets in found.items()
        for imported in targets
        if importer not in DOORS
        and (
            imported in DOORS
            or (
                room(importer) != room(imported) and RANK.get(room(importer), len(RANK)) >= RANK.get(room(imported), -1)
            )
        )
    )


def test_every_room_has_its_place() -> None:
    assert {room(name) for name in modules() if name not in DOORS} <= set(RANK)


def test_folders_import_downward() -> None:
    assert upward(graph()) == []


def strangers(found: Mapping[str, set[str]]) -> list[str]:
    """Modules of other rooms that import SwiFT."""
    return sorted(
        f"{importer} imports {imported}"
        for importer, targets in found.items()
        for imported in targets
        if importer not in DOORS and room(importer) not in KNOW_SWIFT and f"{imported}.".startswith(f"{SWIFT}.")
    )


def test_only_models_and_the_commands_know_swift() -> None:
    assert strangers(graph()) == []
    assert strangers({f"{NAME}.parity.targets": {f"{SWIFT}.weights"}})


def test_no_files_import_in_a_circle() -> None:
    found = graph()
    circles = {
        f"{importer} imports {imported}"
        for importer, targets in found.items()
        for imported in targets
        if importer in reached(imported, found)
    }
    assert circles == set()


def test_no_module_is_long() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def names_in(tree: ast.AST) -> set[str]:
    """What a module may be asked for: what it defines or imports, and the names that it says as text."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name) | ast.ClassDef(name) | ast.Name(name) | ast.alias(name):
                found.add(name)
            case ast.Constant(str(text)):
                found.add(text)
    return found


def unknown_in(text: str, known: Mapping[str, Path]) -> list[str]:
    """Files, modules and names of modules that a text mentions and that do not exist."""
    unknown = {path for path in _PATH.findall(text) if not (PACKAGE.parent / path).exists()} - ELSEWHERE
    for dotted in _DOTTED.findall(text):
        parts = dotted.split(".")
        if parts[1] not in RANK:  # such as a key of a file's metadata
            continue
        module = next(name for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in known)
        rest = parts[module.count(".") + 1 :]
        if rest and rest[0] not in names_in(ast.parse(known[module].read_text())):
            unknown.add(dotted)
    return sorted(unknown)


def test_files_and_modules_that_a_text_mentions_exist() -> None:
    known, root = modules(), PACKAGE.parent
    texts = {str(path.relative_to(root)): path.read_text() for pattern in TEXTS for path in root.glob(pattern)}
    unknown = {file: found for file, text in texts.items() if (found := unknown_in(text, known))}
    assert unknown == {}


def test_what_does_not_exist_is_seen() -> None:
    text = f"docs/parity.md, `{NAME}.parity.checking.check_paths`, {NAME}.parity.check, {NAME}.version; docs/nowhere.md"
    text += f", {NAME}/fmri/scan.py and ``{NAME}.parity.tolerances``."
    assert unknown_in(text, modules()) == ["docs/nowhere.md", f"{NAME}.parity.tolerances", f"{NAME}/fmri/scan.py"]


def test_one_name_means_one_thing() -> None:
    """Folders count as modules; ``__init__`` and ``__main__`` have no name of their own."""
    by_stem = defaultdict(list)
    for name in modules():
        by_stem[name.rpartition(".")[2].lstrip("_")].append(name)
    shared = {stem: names for stem, names in by_stem.items() if len(names) > 1 and stem not in SAME_NAMES}
    assert shared == {}


def test_what_a_file_says_of_itself_is_light_to_import() -> None:
    """Runtimes and the command line read names and types without jax, TensorFlow and onnx."""
    light = [f"{NAME}.formats.{name}" for name in LIGHT]
    program = (
        f"import sys; import {', '.join(light)}\n"
        "heavy = {'jax', 'jaxlib', 'tensorflow', 'onnx', 'onnx_ir', 'onnxruntime'} & set(sys.modules)\n"
        "print(*sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"formats.facts": {"system.text"}, "cli.app": {"errors"}}, []),
        ({"system.text": {"formats.facts"}}, ["system.text imports formats.facts"]),
        ({"exporting": {"conversion"}}, ["exporting imports conversion"]),
        ({"cellar.rats": {"errors"}, "cli.app": {"cellar.rats"}}, ["cellar.rats imports errors", "cli.app imports"]),
    ],
)
def test_the_order_is_seen(found: dict[str, set[str]], wrong: list[str]) -> None:
    named = {f"{NAME}.{importer}": {f"{NAME}.{target}" for target in found[importer]} for importer in found}
    seen = [line.replace(f"{NAME}.", "") for line in upward(named)]
    assert len(seen) == len(wrong)
    assert all(line.startswith(beginning) for line, beginning in zip(seen, wrong, strict=True))

"""Names from untrusted files cannot affect the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

REPOSITORY = Path(__file__).parents[2]
#: Clears the screen, sets the window's title, moves the cursor, hides and reverses text; in 7 and in 8 bits.
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b2J\b\r\n\x7f\u202egnp.\u2066\u2028[red]x[/red][/no]"
SHOWN = r"\x1b[2J\x1b]0;owned\x07\x9b2J"
MEGABYTE = "k" * 2**20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX file whose every name is ``EVIL``, or a megabyte long."""
    value, long = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [EVIL, 2]) for name in (EVIL, MEGABYTE))
    nodes = [
        helper.make_node(f"Op{EVIL}", [EVIL], [MEGABYTE], name=EVIL, domain=f"d{EVIL}"),
        helper.make_node("Identity", [EVIL], [f"{EVIL}2"]),
    ]
    second = helper.make_tensor_value_info(f"{EVIL}2", TensorProto.FLOAT, None)
    made = helper.make_model(
        helper.make_graph(nodes, EVIL, [value], [long, second]),
        producer_name=EVIL,
        producer_version=MEGABYTE,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(f"d{EVIL}", 1)],
    )
    helper.set_model_props(
        made, {EVIL: EVIL, "long": MEGABYTE, "inputs": "no input", **{f"k{i}": "v" for i in range(99)}}
    )
    path = tmp_path / f"{EVIL.replace('/', '')}.onnx"
    onnx.save(made, path)
    return path


def on_a_terminal(*command: str | Path, cwd: Path, **environment: str) -> tuple[int, bytes]:
    """Exit status of a command, and what a terminal is sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "100"} | environment,
    )
    os.close(theirs)
    sent = b""
    try:
        while data := os.read(ours, 2**16):
            sent += data
    except OSError:  # how the end of a terminal is told on Linux
        pass
    os.close(ours)
    return process.wait(60), sent


def unstyled(sent: bytes) -> str:
    """What a terminal is sent, without the styles, cursor movements and line ends that are the program's own."""
    own = rb"\x1b\[(\d+(;\d+)*)?m|\x1b\[2K|\x1b\[1A|\x1b\[\?25[hl]|\r\n|\r"
    return re.sub(own, b"\n", sent).decode()


def plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_inspect_shows_escapes(run, model: Path) -> None:
    result = run("inspect", model)
    assert result.returncode == 0, result.stderr
    assert plain(result.stdout)
    assert SHOWN in result.stdout
    assert max(map(len, result.stdout.split("\n"))) <= 10_000
    lines = result.stdout.splitlines()
    assert len(lines) < 90
    # A key of the metadata replaces nothing that was read from the file.
    assert [line.split()[0] for line in lines if line.startswith("  inputs ")] == ["inputs"]
    assert "no input" not in next(line for line in lines if line.startswith("  inputs "))


def test_inspect_as_json_is_ascii(run, model: Path) -> None:
    result = run("inspect", model, "--json")
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii()
    assert plain(result.stdout)
    found = json.loads(result.stdout)["parts"][0]
    assert found["facts"]["details"]["metadata"][EVIL] == EVIL
    assert found["facts"]["details"]["metadata"]["long"] == MEGABYTE


@pytest.mark.parametrize("command", [["inspect"], ["check"], ["convert", "-o", "out.onnx"], ["diff", "notes.txt"]])
def test_error_lines_show_escapes(refused: Callable[..., str], tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / f"damaged{EVIL.replace('/', '')}.onnx"
    path.write_bytes(b"\0\1\2")
    (tmp_path / "notes.txt").write_text("no model")
    line = refused(*command[:1], path, *command[1:])
    assert plain(line)
    assert SHOWN in line


def test_an_error_that_names_a_megabyte_is_cut_in_its_middle(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "long.mlir").write_text(f"func.func @main() {{ {MEGABYTE}.op() }}")
    line = refused("convert", "long.mlir", "-o", "out.onnx", "--platform", MEGABYTE[:100_000])
    assert len(line) <= 10_000


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_that_are_no_text_in_any_encoding(tmp_path: Path, model: Path, encoding: str) -> None:
    name = os.fsdecode(b"\xff\x9b\xc3\xa9.onnx")
    model.rename(tmp_path / name)
    for path, status in ((name, 0), (f"absent{name}", 2)):
        result = subprocess.run(
            [sys.executable, "-P", "-m", "swift_export", "inspect", path],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert result.returncode == status, result.stderr
        assert rb"\udcff\udc9b" in result.stdout + result.stderr
        assert not set(result.stdout + result.stderr) & {0xFF, 0x9B, 0x1B}
        assert (b"\xc3\xa9" in result.stdout + result.stderr) == (encoding == "utf-8")


@pytest.mark.parametrize(
    "printing",
    [
        "console.line(evil, style='bold')",
        "console.facts({evil: evil, 'b': evil})",
        "console.table(['a', evil], [[evil, evil]])",
        "with console.progress() as on_progress: on_progress(evil); import time; time.sleep(0.3)",
        "console._out.print(evil, rich.text.Text(evil, style='bold'))",
        "console._out.print(rich.panel.Panel(evil, title=rich.text.Text(evil)))",
        "swift_export.parity.diff.DiffReport((pair,), True).render(console._out)",
    ],
)
def test_nothing_that_the_console_prints_steers_the_terminal(tmp_path: Path, printing: str) -> None:
    program = (
        "import rich.panel, rich.text, swift_export.parity.diff as diff, swift_export\n"
        "from swift_export.cli.console import Console\n"
        "from swift_export.parity.measure.compare import Difference\n"
        "from swift_export.parity.results import Comparison\n"
        "from swift_export.parity.measure.tolerances import Tolerance\n"
        f"evil, console = {EVIL!r}, Console()\n"
        "c = Comparison(evil, {evil: 1}, evil, Difference(0.0, 0.0, 0), Tolerance(1, 1, evil))\n"
        "pair = diff.Pair(evil, evil, None, None, (c,))\n"
        "console.line('styled', style='bold')\n"
    )
    status, sent = on_a_terminal(sys.executable, "-c", program + printing, cwd=tmp_path)
    assert status == 0, sent
    assert b"\x1b[1mstyled\x1b[0m" in sent
    assert plain(unstyled(sent)), sent
    assert rb"\x1b" in sent


def test_errors_and_tracebacks_on_a_terminal(tmp_path: Path) -> None:
    command = (sys.executable, "-P", "-m", "swift_export", "inspect", f"{EVIL}.onnx")
    for debug in ("", "1"):
        status, sent = on_a_terminal(*command, cwd=tmp_path, SWIFT_EXPORT_DEBUG=debug)
        assert status == 2, sent
        assert sent.count(b"Traceback") == bool(debug)
        assert plain(unstyled(sent)), sent

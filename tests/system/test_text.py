"""Text from files on its way to a terminal: what would steer it is shown instead, and nothing is endless."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from swift_export.system.text import LINE_LIMIT, error_line, first_line, one_line, printable, shortened, shown

#: Characters that steer a terminal, break a line, or change what others show, and what is printed instead.
STEERING = {
    "\0": r"\x00",
    "\b": r"\x08",
    "\t": r"\t",
    "\n": r"\n",
    "\r": r"\r",
    "\x1b": r"\x1b",
    "\x7f": r"\x7f",
    "\x85": r"\x85",
    "\x9b": r"\x9b",  # CSI in eight bits
    "\x9d": r"\x9d",
    "\u200b": r"\u200b",
    "\u200e": r"\u200e",
    "\u2028": r"\u2028",
    "\u2029": r"\u2029",
    "\u202e": r"\u202e",
    "\u2066": r"\u2066",
    "\u2069": r"\u2069",
    "\ufeff": r"\ufeff",
    "\udcff": r"\udcff",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize(("character", "escape"), STEERING.items(), ids=lambda text: ascii(text)[1:-1])
def test_what_steers_a_terminal_is_printed_as_an_escape(character: str, escape: str) -> None:
    assert printable(f"a{character}b") == f"a{escape}b"
    assert shown(f"a{character}b") == f"a{escape}b"
    assert shortened(f"a{character}b") == f"a{escape}b"
    assert one_line(f"a{character}b") in (f"a{escape}b", "a b")


def test_no_control_format_or_surrogate_character_passes() -> None:
    every = (chr(code) for code in range(sys.maxunicode + 1))
    bad = [c for c in every if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert len(bad) > 2000
    assert printable("".join(bad)).isascii()


def test_text_of_every_script_stays_as_it_is() -> None:
    for text in ("features", "Größe µV", "脑影像", "דג", "é", "🧠", r"C:\x1b"):
        assert printable(text) == shortened(text) == one_line(text) == text


def test_a_line_has_its_white_space_collapsed() -> None:
    assert one_line("  two\r\nlines\tand\u2028more \n") == "two lines and more"


@pytest.mark.parametrize("character", ["k", "\x1b", "\udcff", " k", "\n"])
def test_nothing_is_longer_than_its_limit(character: str) -> None:
    endless = f"begin{character * 2**20}end"
    for limit in (80, 500, LINE_LIMIT):
        for text in (shortened(endless, limit), one_line(endless, limit)):
            assert len(text) <= limit
            assert text.startswith("begin")
            assert text.endswith("end")
            assert f"({len(endless):,} characters)" in text
        assert len(shown(endless, limit)) == limit
        assert shown(endless, limit).endswith("...")


def test_what_fits_is_not_shortened() -> None:
    text = "k" * LINE_LIMIT
    assert shortened(text) == one_line(text) == shown(text, LINE_LIMIT) == text


def test_a_library_s_error_is_one_line() -> None:
    assert error_line(RuntimeError("cannot load\n  node a\x1b[1m")) == r"cannot load node a\x1b[1m"
    assert len(error_line(ValueError("x" * 10_000))) == 300
    assert error_line(KeyError()) == error_line(KeyError("")).replace("''", "KeyError") == "KeyError"
    assert first_line("\n \n  why \nat length") == "why"
    assert first_line(" \n") == ""

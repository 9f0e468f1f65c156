"""Options that take several values."""

from __future__ import annotations

import pytest

from swift_export.cli.lists import numbers, words
from swift_export.errors import UsageError


@pytest.mark.parametrize("given", [["a", "b"], ["a,b"], ["a, b "]])
def test_repeating_and_commas_are_the_same(given: list[str]) -> None:
    assert words(given, "--outputs") == ["a", "b"]


def test_both_can_be_mixed() -> None:
    assert numbers(["1,3", "2"], "--batch") == [1, 3, 2]
    assert numbers(None, "--batch") == words([], "--runtime") == []


@pytest.mark.parametrize("given", ["", "a,", ",a", "a,,b"])
def test_an_empty_value_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="--outputs: expected values separated by commas, found an empty one"):
        words([given], "--outputs")


@pytest.mark.parametrize("given", ["two", "1.5", "--1", "\u00b2", "1e3", pytest.param("9" * 5000, id="long")])
def test_what_is_no_whole_number_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"--batch .*: expected a whole number"):
        numbers([f"1,{given}"], "--batch")

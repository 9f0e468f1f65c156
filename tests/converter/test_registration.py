"""Rules are registered once an op, and only functions that can be called as rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from swift_export.converter import convert
from swift_export.converter.frame import RULES, rule

assert convert.rules, "all rules are registered"


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = dict(RULES)
    yield
    added = {name for name in RULES if name not in before}
    for name in added:
        del RULES[name]
    assert before == RULES


def plain(frame, op):
    return []


def test_a_second_rule_for_an_op_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"plain: stablehlo\.add has a rule already, swift_export\S+\.elementwise\.\w+"
    ):
        rule("stablehlo.add")(plain)
    with pytest.raises(ValueError, match=r"toy\.op has a rule already, \S+plain"):
        rule("toy.op", "toy.op")(plain)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda frame: [],
        lambda frame, op, more: [],
        lambda frame, *, op: [],
        lambda frame, op, *, more: [],
    ],
)
def test_a_function_that_does_not_take_frame_and_op_is_refused(wrong) -> None:
    with pytest.raises(TypeError, match="expected a function of a frame and an op"):
        rule("toy.op")(wrong)
    assert "toy.op" not in RULES


def test_what_can_be_called_with_frame_and_op_is_a_rule() -> None:
    rule("toy.op", attributes=["axis"])(lambda frame, op, more=(): [])
    assert RULES["toy.op"].attributes == {"axis"}
    assert rule("toy.other")(plain) is plain

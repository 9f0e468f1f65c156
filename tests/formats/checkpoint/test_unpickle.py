"""The pickle machine: equal to Python's own on data, deaf to everything else."""

from __future__ import annotations

import collections
import itertools
import pickle
import random
import shlex
import time
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from swift_export.formats.checkpoint.torch_objects import TensorRef, plain, read_torch_pickle
from swift_export.formats.checkpoint.unpickle import Inert, PickleError

SHARED = ["shared"]
DATA = [
    None, True, False, 0, 255, 256, 65535, 65536, -1, -(2**31), 2**31, 2**63, -(2**400), 10**2000,
    0.0, -1.5, 1e300, float("inf"), "", "plain", "sëparé \U0001f9e0\n\t", "x" * 300,
    (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], list(range(3000)),
    {}, {"a": 1}, {i: str(i) for i in range(3000)}, {None: 1, True: 2, 2.5: 3},
    {"nested": [{"deep": ({"er": [1, (2, [3])]},)}], "again": SHARED, "and again": [SHARED, SHARED]},
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_data_as_python_does(protocol: int) -> None:
    for value in DATA:
        assert read_torch_pickle(pickle.dumps(value, protocol)) == value


def test_reads_bytes_as_python_does() -> None:
    for value in (b"\x00\xff", b"x" * 64):
        assert [read_torch_pickle(pickle.dumps(value, protocol)) for protocol in (2, 3, 4, 5)] == [value] * 4
    for value in (b"", b"x" * 1000, {b"key": 1}):
        assert [read_torch_pickle(pickle.dumps(value, protocol)) for protocol in (3, 4, 5)] == [value] * 3
    assert read_torch_pickle(pickle.dumps(bytearray(b"ab"), 5)) == b"ab"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_random_data_as_python_does(protocol: int) -> None:
    rng = random.Random(protocol)

    def value(depth: int) -> Any:
        scalars = (rng.getrandbits(80), rng.random(), "t" * rng.randrange(300), None, rng.choice([True, False]))
        if depth == 0 or rng.random() < 0.3:
            return rng.choice(scalars)
        many = range(rng.randrange(6))
        return rng.choice(
            [
                lambda: [value(depth - 1) for _ in many],
                lambda: tuple(value(depth - 1) for _ in many),
                lambda: {f"k{i}": value(depth - 1) for i in many},
                lambda: collections.OrderedDict((i, value(depth - 1)) for i in many),
            ]
        )()

    for _ in range(200):
        expected = value(5)
        assert read_torch_pickle(pickle.dumps(expected, protocol)) == expected


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_sets_as_lists_and_numpy_scalars_as_numbers(protocol: int) -> None:
    def read(value: Any) -> Any:
        return read_torch_pickle(pickle.dumps(value, protocol))

    assert sorted(read({3, 1, 2})) == [1, 2, 3]
    assert sorted(read(frozenset("ab"))) == ["a", "b"]
    for code in ("b1", "i1", "i8", "u2", "f2", "f4", "f8", ">i4", ">f8"):
        scalar = np.dtype(code).type(1)
        found = read(scalar)
        assert type(found) is type(scalar.item())
        assert found == 1
    assert read({"a": np.float64(0.1)}) == {"a": 0.1}


def test_keeps_what_refers_to_itself(torch_file: ModuleType) -> None:
    ring: list[Any] = []
    ring.append(ring)
    found = read_torch_pickle(pickle.dumps(ring, 2))
    assert found[0] is found
    with pytest.raises(PickleError, match="nested at most 16 deep, found more"):
        plain(found)


def test_unknown_classes_stay_inert(torch_file: ModuleType) -> None:
    name, call = torch_file.Name, torch_file.Call
    value = call(name("my.package", "Thing"), (1, "two"), entries={"k": 3}, state={"s": 4}, opcode=b"\x81")
    found = read_torch_pickle(torch_file.dumps([value, name("torch", "float16")]))
    assert (found[0].args, found[0].entries, found[0].state) == ((1, "two"), {"k": 3}, {"s": 4})
    assert plain(found) == ["<my.package.Thing>", "<torch.float16>"]


def test_namespaces_and_attribute_dicts_are_plain_data(torch_file: ModuleType) -> None:
    namespace = torch_file.Call(
        torch_file.Name("argparse", "Namespace"), state={"depths": [1, 2], "f": 0.5}, opcode=b"\x81"
    )
    attributes = torch_file.Call(
        torch_file.Name("pytorch_lightning.utilities.parsing", "AttributeDict"),
        entries={"inner": namespace},
        opcode=b"\x81",
    )
    assert plain(read_torch_pickle(torch_file.dumps(attributes))) == {"inner": {"depths": [1, 2], "f": 0.5}}


# ---------------------------------------------------------------------------------------------------------- attacks


def _commands(marker: Path) -> dict[str, bytes]:
    """Pickles that create ``marker`` when Python's own unpickler reads them, by the way they do it."""
    command = f"touch {shlex.quote(str(marker))}".encode()
    text = b"X" + len(command).to_bytes(4, "little") + command
    python = f"open({str(marker)!r}, 'w')".encode()
    code = b"X" + len(python).to_bytes(4, "little") + python
    short = lambda name: b"\x8c" + bytes([len(name)]) + name  # noqa: E731
    return {
        "os.system": b"\x80\x02cos\nsystem\n" + text + b"\x85R.",
        "posix.system": b"\x80\x02cposix\nsystem\n" + text + b"\x85R.",
        "stack global": b"\x80\x04" + short(b"os") + short(b"system") + b"\x93" + text + b"\x85R.",
        "memoized names": b"\x80\x02" + b"X\x02\0\0\0osq\x010X\x06\0\0\0systemq\x020h\x01h\x02\x93" + text + b"\x85R.",
        "call after building": b"\x80\x02]cos\nsystem\n" + text + b"\x85Ra.",
        "eval": b"\x80\x02cbuiltins\neval\n" + code + b"\x85R.",
        "python 2's eval": b"\x80\x02c__builtin__\neval\n" + code + b"\x85R.",
        "exec": b"\x80\x02cbuiltins\nexec\n" + code + b"\x85R.",
        "getattr of a module": b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\nX\x02\0\0\0os\x85R"
        b"X\x06\0\0\0system\x86R" + text + b"\x85R.",
        "dotted name": b"\x80\x04" + short(b"os") + short(b"path.os.system") + b"\x93" + text + b"\x85R.",
        "runpy": b"\x80\x02crunpy\n_run_code\n" + code + b"}\x86R.",
        "timeit": b"\x80\x02ctimeit\ntimeit\nX\x04\0\0\0pass" + code + b"\x86R.",
        "state of a partial": b"\x80\x02cfunctools\npartial\ncos\nsystem\n" + text + b"\x86R)R.",
        "instance": b"(X" + text[1:] + b"ios\nsystem\n.",
        "object": b"\x80\x01(cos\nsystem\n" + text + b"o.",
        "protocol 0": b"cos\nsystem\n(S'" + command + b"'\ntR.",
    }  # fmt: skip


@pytest.mark.parametrize("way", sorted(_commands(Path("marker"))))
def test_commands_are_refused_and_not_run(way: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(PickleError) as caught:
        read_torch_pickle(_commands(marker)[way])
    assert len(str(caught.value).splitlines()) == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    "way", ["os.system", "stack global", "eval", "dotted name", "protocol 0", "instance", "object"]
)
def test_the_attacks_would_work_on_python_itself(way: str, tmp_path: Path) -> None:
    """So that the test above cannot pass for a broken attack."""
    marker = tmp_path / "executed"
    stream = pickle.loads(_commands(marker)[way])
    if hasattr(stream, "close"):
        stream.close()
    assert marker.exists()


def test_foreign_calls_are_not_made(torch_file: ModuleType, tmp_path: Path) -> None:
    """Third-party names are no sign of an attack by themselves: they stay inert, also when they could do harm."""
    marker = tmp_path / "executed"
    call = torch_file.Call(torch_file.Name("numpy", "savetxt"), (str(marker), [1.0]))
    assert isinstance(read_torch_pickle(torch_file.dumps(call)), Inert)
    assert not marker.exists()


def test_no_class_can_be_changed(torch_file: ModuleType) -> None:
    """BUILD sets attributes of whatever it is given, in Python also those of a class."""
    name = torch_file.Name("argparse", "Namespace")
    code = torch_file.dumps(
        torch_file.Raw(torch_file.Writer().code(name) + torch_file.Writer().code({"__init__": 1}) + b"b")
    )
    with pytest.raises(PickleError, match=r"sets the state of <argparse\.Namespace>"):
        read_torch_pickle(code)


# ----------------------------------------------------------------------------------------- malformed and oversized


def test_every_truncation_is_an_error(torch_file: ModuleType) -> None:
    tensor = torch_file.Tensor(np.zeros(3, np.float32))
    data = torch_file.dumps({"a": [1, 2.0, "x", (tensor, None)], "b": torch_file.Name("torch", "float16"), 3: 2**70})
    assert isinstance(read_torch_pickle(data)["a"][3][0], TensorRef)
    for length in range(len(data)):
        with pytest.raises(PickleError):
            read_torch_pickle(data[:length])


def _refusal(data: bytes) -> str | None:
    """Why a pickle is refused, if it is."""
    try:
        plain(read_torch_pickle(data))
    except PickleError as error:
        return str(error)
    return None


def test_every_instruction_survives_an_empty_stack() -> None:
    for first, second in itertools.product(range(256), repeat=2):
        refusal = _refusal(bytes([0x80, 2, first, second, ord("."), 0, 0, 0, 0, 0, 0, 0, 0]))
        assert refusal is None or len(refusal.splitlines()) == 1


HUGE = {
    "bytes of 2**63": b"\x8e" + (2**63 - 1).to_bytes(8, "little"),
    "bytearray of 2**62": b"\x96" + (2**62).to_bytes(8, "little"),
    "text of 2**63": b"\x8d" + (2**63).to_bytes(8, "little"),
    "text of 4 GB": b"X\xff\xff\xff\xff",
    "number of 4 GB": b"\x8b\xff\xff\xff\xff",
    "name without end": b"cos",
    "name of 1 MB": b"c" + b"a" * 2**20 + b"\nb\n",
    "frame of 2**64 and nothing": b"\x95" + b"\xff" * 8,
    "memo 2**32 - 1 of nothing": b"j\xff\xff\xff\xff",
    "protocol 255": b"\x80\xff",
    "extension": b"\x82\x01",
    "buffer": b"\x97",
    "text that is not UTF-8": b"X\x01\0\0\0\xff",
    "a reference to nothing": b"NQ",
}


@pytest.mark.parametrize("what", HUGE)
def test_huge_claims_are_refused_before_they_cost_memory(what: str) -> None:
    stream = b"\x80\x02" + HUGE[what] + b"."
    tracemalloc.start()
    try:
        with pytest.raises(PickleError) as caught:
            read_torch_pickle(stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300
    assert peak < 4 * len(stream) + 2**16


def test_a_far_memo_slot_costs_nothing() -> None:
    """CPython's own unpickler allocates 64 GB here."""
    assert read_torch_pickle(b"\x80\x02Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.") is None


LONG = b"X" + (2**22).to_bytes(4, "little") + b"k" * 2**22
BOMBS = {
    # a list of 10 of the one before, 30 times over
    "billion laughs": b"]" + b"".join(b"q\x000(" + b"h\x00" * 10 + b"l" for _ in range(30)),
    "billion laughs in tuples": b")" + b"".join(b"q\x000(" + b"h\x00" * 10 + b"t" for _ in range(30)),
    "tuples of tuples as a key": b"})" + b"".join(b"q\x00h\x00\x86" for _ in range(60)) + b"Ns",
    "a key too deep to hash": b"}" + b")" + b"\x85" * 300_000 + b"Ns",
    "deep lists": b"]" * 300_000 + b"a" * 299_999,
    "deep calls": b"cmy\nthing\n" + b")R" * 300_000,
    "sets of a set": b"](" + b"K\x01" * 100_000 + b"eq\x000" + b"cbuiltins\nset\nh\x00\x85R0" * 20_000 + b"N",
    "a long text as a key again and again": b"}q\x01" + LONG + b"q\x000" + b"h\x00Ns" * 100_000,
    "long equal texts as keys": b"}q\x01" + LONG + b"q\x00Ns" + LONG + b"q\x020" + b"h\x02Ns" * 100_000,
    "a huge number as a key again and again": b"}\x8b\0\0\x40\0" + b"\x7f" * 2**22 + b"q\x000" + b"h\x00Ns" * 100_000,
    "a long module name again and again": LONG + b"q\x000" + b"h\x00h\x00\x930" * 100_000 + b"N",
    "encoding a long text again and again": LONG + b"q\x000X\x06\0\0\0latin1q\x010"
    + b"c_codecs\nencode\nh\x00h\x01\x86R0" * 50_000 + b"N",
    "marks": b"(" * 500_000 + b"N",
    "empty dictionaries": b"}" * 500_000,
    "instructions": b"N0" * 1_500_000 + b"N",
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_bombs_fizzle(what: str) -> None:
    """Either read or refused, in time and stack that are linear in the pickle's size."""
    start = time.process_time()
    refusal = _refusal(b"\x80\x02" + BOMBS[what] + b".")
    assert refusal is None or (len(refusal.splitlines()) == 1 and len(refusal) < 300)
    # Of the processor, whatever runs beside; each takes less than one second. A hang guard, no measurement.
    assert time.process_time() - start < 30

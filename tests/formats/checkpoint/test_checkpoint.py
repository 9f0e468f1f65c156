"""Reading checkpoints: the golden ones, Lightning's own, crafted ones, hostile ones."""

from __future__ import annotations

import re
import shlex
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from swift_export.formats.checkpoint.reading import read_checkpoint

Refused = Callable[..., AbstractContextManager[None]]

TINY = {
    "img_size": [4, 4, 4, 2],
    "in_chans": 1,
    "embed_dim": 2,
    "window_size": [4, 4, 4, 4],
    "first_window_size": [2, 2, 2, 2],
    "patch_size": [2, 2, 2, 1],
    "depths": [1, 1],
    "num_heads": [1, 1],
    "c_multiplier": 2,
    "last_layer_full_MSA": False,
}


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


@pytest.mark.parametrize("name", ["tiny-full", "tiny-windowed", "tiny-padded", "sharp"])
def test_golden_checkpoints_bit_for_bit(name: str, golden: Path, recipe: ModuleType) -> None:
    case = recipe.load_case(name)
    checkpoint = read_checkpoint(golden / name / "checkpoint.ckpt")
    expected = recipe.checkpoint_state(case)
    assert sorted(checkpoint.state) == sorted(expected)
    assert [key for key in expected if not same(checkpoint.state[key].read(), expected[key])] == []
    assert checkpoint.hyper_parameters.items() >= case["hyper_parameters"].items()


@pytest.mark.parametrize("name", ["lightning-1", "lightning-2"])
def test_lightnings_own_files(name: str, lightning: Path, recipe: ModuleType) -> None:
    checkpoint = read_checkpoint(lightning / f"{name}.ckpt")
    expected = recipe.checkpoint_state({"heads": "clf", "seed": 11, "hyper_parameters": TINY})
    assert sorted(checkpoint.state) == sorted(expected)
    assert [key for key in expected if not same(checkpoint.state[key].read(), expected[key])] == []
    others = {k: v for k, v in checkpoint.hyper_parameters.items() if k not in TINY}
    assert others == {
        "model": "swin4d_ver7",
        "learning_rate": 1e-5,
        "seed": 1,
        "root": "<pathlib.PosixPath>",
        "dtype": "<torch.float16>",
        "tasks": ["sex"],
        "empty": None,
    }
    assert {k: checkpoint.hyper_parameters[k] for k in TINY} == TINY


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_types_and_byte_orders(dtype: str, order: str, torch_file: ModuleType, tmp_path: Path) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    stored = values.astype(values.dtype.newbyteorder(">" if order == "big" else "<"))
    content = torch_file.checkpoint({"a": stored}, {})
    path = torch_file.write(tmp_path / "a.ckpt", content, extra={"byteorder": order.encode()})
    tensor = read_checkpoint(path).state["a"]
    assert (tensor.dtype, tensor.shape) == (dtype, (2, 3))
    assert same(tensor.read(), values)


def test_bfloat16(torch_file: ModuleType, tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 0.0, 2.0**100, np.inf], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    content = torch_file.checkpoint({}, {}, state_dict={"a": torch_file.Tensor(bits, kind="BFloat16Storage")})
    tensor = read_checkpoint(torch_file.write(tmp_path / "a.ckpt", content)).state["a"]
    assert tensor.dtype == "bfloat16"
    assert same(tensor.read(), values)


def test_views_of_storages(torch_file: ModuleType, tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32)
    views = {
        "transposed": (0, (6, 4), (1, 6), base.reshape(4, 6).T),
        "sliced": (5, (3, 2), (4, 1), np.lib.stride_tricks.as_strided(base[5:], (3, 2), (16, 4))),
        "stepped": (1, (8,), (3,), base[1::3]),
        "scalar": (7, (), (), base[7]),
        "last": (23, (1,), (1,), base[23:]),
        "empty": (0, (0, 3), (3, 1), np.zeros((0, 3), np.float32)),
        "odd strides of an axis of one": (2, (1, 3), (99, 1), base[2:5][None]),
    }
    state = {
        name: torch_file.Tensor(base, key="0", offset=offset, shape=shape, strides=strides)
        for name, (offset, shape, strides, _) in views.items()
    }
    path = torch_file.write(tmp_path / "a.ckpt", {"state_dict": state}, extra={"padding": bytes(4096)})
    found = read_checkpoint(path).state
    for name, (*_, expected) in views.items():
        assert same(found[name].read(), np.ascontiguousarray(expected).reshape(expected.shape)), name


def test_parameters_and_subclasses_are_their_tensors(torch_file: ModuleType, tmp_path: Path) -> None:
    values = np.arange(3, dtype=np.float32)
    parameter = torch_file.Name("torch._utils", "_rebuild_parameter")
    state = {
        "parameter": torch_file.Call(parameter, (torch_file.Tensor(values), True, {})),
        "subclass": torch_file.Tensor(values, subclass=True),
    }
    found = read_checkpoint(torch_file.write(tmp_path / "a.ckpt", {"state_dict": state})).state
    assert same(found["parameter"].read(), values)
    assert same(found["subclass"].read(), values)


@pytest.mark.parametrize("key", ["hyper_parameters", "hparams"])
@pytest.mark.parametrize("kind", ["dict", "Namespace", "AttributeDict", "NumPy scalars"])
def test_hyper_parameters(key: str, kind: str, torch_file: ModuleType, tmp_path: Path) -> None:
    name, call = torch_file.Name, torch_file.Call
    dtype = call(name("numpy", "dtype"), ("i8", False, True), state=(3, "<", None, None, None, -1, -1, 0))
    latin = struct.pack("<q", 36).decode("latin1")
    number = call(name("numpy.core.multiarray", "scalar"), (dtype, call(name("_codecs", "encode"), (latin, "latin1"))))
    value = {
        "dict": {"embed_dim": 36},
        "Namespace": call(name("argparse", "Namespace"), state={"embed_dim": 36}, opcode=b"\x81"),
        "AttributeDict": call(
            name("lightning.fabric.utilities.data", "AttributeDict"), entries={"embed_dim": 36}, opcode=b"\x81"
        ),
        "NumPy scalars": {"embed_dim": number},
    }[kind]
    path = torch_file.write(tmp_path / "a.ckpt", {"state_dict": {}, key: value})
    assert read_checkpoint(path).hyper_parameters == {"embed_dim": 36}


def test_without_hyper_parameters(torch_file: ModuleType, tmp_path: Path) -> None:
    assert read_checkpoint(torch_file.write(tmp_path / "a.ckpt", {"state_dict": {}})).hyper_parameters == {}


def test_odd_hyper_parameters_are_refused(torch_file: ModuleType, tmp_path: Path, refused: Refused) -> None:
    config = torch_file.Call(torch_file.Name("omegaconf.dictconfig", "DictConfig"), state={"_content": {}})
    path = torch_file.write(tmp_path / "a.ckpt", {"state_dict": {}, "hyper_parameters": config})
    with refused(str(path), "expected a dictionary", "<omegaconf.dictconfig.DictConfig>"):
        read_checkpoint(path)
    laughs = b"]" + b"".join(b"q\x000(" + b"h\x00" * 10 + b"l" for _ in range(12))
    path = torch_file.write(tmp_path / "b.ckpt", {"state_dict": {}, "hyper_parameters": {"a": torch_file.Raw(laughs)}})
    with refused(str(path), "hyper_parameters", "values"):
        read_checkpoint(path)


def test_missing_state_dict(torch_file: ModuleType, tmp_path: Path, refused: Refused) -> None:
    path = torch_file.write(tmp_path / "a.ckpt", {"epoch": 3, "model": {"a": 1}, "\x1b[31mred\n": 1})
    with refused(str(path), "expected a checkpoint with a state_dict", "epoch", "model", r"\x1b[31mred\n"):
        read_checkpoint(path)
    path = torch_file.write(tmp_path / "b.ckpt", {"state_dict": [1]})
    with refused(str(path), "state_dict"):
        read_checkpoint(path)
    path = torch_file.write(tmp_path / "c.ckpt", [1, 2])
    with refused(str(path), "found a list"):
        read_checkpoint(path)
    path = torch_file.write(tmp_path / "d.ckpt", torch_file.Call(torch_file.Name("my.model", "SwiFT")))
    with refused(str(path), "found <my.model.SwiFT>"):
        read_checkpoint(path)


def test_a_command_in_the_pickle(torch_file: ModuleType, tmp_path: Path, refused: Refused) -> None:
    marker = tmp_path / "executed"
    attack = torch_file.Call(torch_file.Name("posix", "system"), (f"touch {shlex.quote(str(marker))}",))
    tensor = torch_file.Tensor(np.zeros(3, np.float32))
    for content in (
        {"state_dict": {"a": attack}},
        {"state_dict": {"a": tensor}, "callbacks": [attack]},
        {"state_dict": {"a": tensor}, "hyper_parameters": attack},
        attack,
    ):
        path = torch_file.write(tmp_path / "a.ckpt", content)
        with refused(str(path), "refers to posix.system", "nothing was executed"):
            read_checkpoint(path)
    foreign = torch_file.Call(torch_file.Name("numpy", "savetxt"), (str(marker), [1.0]))
    path = torch_file.write(tmp_path / "b.ckpt", {"state_dict": {"a": foreign}})
    with refused(str(path), "expected named tensors only, but a is <numpy.savetxt>"):
        read_checkpoint(path)
    path = torch_file.write(tmp_path / "c.ckpt", {"state_dict": {"a": tensor}, "callbacks": foreign})
    assert list(read_checkpoint(path).state) == ["a"]
    assert not marker.exists()


BASE = np.arange(12, dtype=np.float32)
LIARS: dict[str, dict[str, Any]] = {
    "shape beyond its storage": {"shape": (13,)},
    "offset beyond its storage": {"offset": 12, "shape": (1,)},
    "strides beyond its storage": {"shape": (3, 2), "strides": (6, 1)},
    "negative stride": {"shape": (3,), "strides": (-1,), "offset": 3},
    "negative offset": {"offset": -1, "shape": (3,)},
    "negative size": {"shape": (-3,), "strides": (1,)},
    "expanded": {"shape": (2**20, 12), "strides": (0, 1)},
    "sizes that overflow 64 bits": {"shape": (2**62, 2**62), "strides": (1, 1)},
    "strides that overflow 64 bits": {"shape": (2, 2), "strides": (2**62, 2**62)},
    "sizes of 2000 bits": {"shape": (2**2000,), "strides": (1,)},
    "more sizes than strides": {"shape": (3, 4), "strides": (1,)},
    "100 axes": {"shape": (1,) * 100, "strides": (1,) * 100},
    "sizes that are no numbers": {"shape": ("3",), "strides": (1,)},
    "sizes that are true": {"shape": (True,), "strides": (1,)},
    "a shape that is no list": {"shape": 12, "strides": (1,)},
    "an offset that is a list": {"offset": [0]},
    "longer storage than the file has": {"length": 2**40},
    "storage of 2**2000": {"length": 2**2000},
    "negative storage": {"length": -1},
    "storage that is not there": {"key": "../../../../etc/passwd"},
    "complex numbers": {"kind": "ComplexFloatStorage"},
    "storage of an unknown kind": {"kind": "Storage\x1b[2J"},
}


@pytest.mark.parametrize("lie", LIARS)
def test_tensors_that_lie(lie: str, torch_file: ModuleType, tmp_path: Path, refused: Refused) -> None:
    tensor = torch_file.Tensor(BASE, **({"strides": (1,), "shape": (12,)} | LIARS[lie]))
    members = torch_file.Writer()
    code = b"\x80\x02" + members.code({"state_dict": {"model.x": tensor}}) + b"."
    path = torch_file.write(tmp_path / "a.ckpt", code, extra={"data/0": BASE.tobytes()})
    with refused(str(path)):
        read_checkpoint(path)


def test_tensors_that_share_bytes(torch_file: ModuleType, tmp_path: Path, refused: Refused) -> None:
    """One storage, many tensors: a small file must not ask for much memory."""
    state = {f"model.x{i}": torch_file.Tensor(np.zeros(2**16, np.float32), key="0") for i in range(64)}
    path = torch_file.write(tmp_path / "a.ckpt", {"state_dict": state})
    with refused(str(path), "more than the file's"):
        read_checkpoint(path)


def test_names_that_are_no_text(torch_file: ModuleType, tmp_path: Path, refused: Refused) -> None:
    path = torch_file.write(tmp_path / "a.ckpt", {"state_dict": {3: torch_file.Tensor(BASE)}})
    with refused(str(path), "expected named tensors only"):
        read_checkpoint(path)


def test_optimizer_states_stay_on_disk(torch_file: ModuleType, tmp_path: Path) -> None:
    """A state_dict of 48 bytes beside 64 MB of optimizer state: what is read fits a few kilobytes."""
    optimizer = [{"state": {i: {"exp_avg": torch_file.Tensor(np.zeros(2**22, np.float32))} for i in range(4)}}]
    content = {"state_dict": {"a": torch_file.Tensor(BASE)}, "optimizer_states": optimizer}
    path = torch_file.write(tmp_path / "a.ckpt", content)
    del optimizer, content
    assert path.stat().st_size > 2**26
    tracemalloc.start()
    try:
        tensor = read_checkpoint(path).state["a"].read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert same(tensor, BASE)
    assert peak < 2**20


def test_two_gigabytes_of_optimizer_state(torch_file: ModuleType, tmp_path: Path) -> None:
    """A sparse file: reading it touches no more than what is wanted, and what the system reads ahead."""
    size = 2**31
    writer = torch_file.Writer()
    writer.storages["0"] = BASE
    content = {
        "state_dict": {"a": torch_file.Tensor(BASE, key="0")},
        "optimizer_states": [torch_file.Tensor(BASE[:0], key="1", length=size // 4, shape=(size // 4,))],
    }
    pickle = b"\x80\x02" + writer.code(content) + b"."
    path, entries = tmp_path / "a.ckpt", []
    with path.open("wb") as file:
        for name, data in {b"a/data.pkl": pickle, b"a/data/0": BASE.tobytes(), b"a/data/1": None}.items():
            length, at = size if data is None else len(data), file.tell()
            sizes = struct.pack("<4xIIHH", length, length, len(name), 0)
            file.write(b"PK\x03\x04" + struct.pack("<5H", 20, 0, 0, 0, 0) + sizes + name + (data or b""))
            if data is None:
                file.seek(size, 1)
            entries.append(
                b"PK\x01\x02"
                + struct.pack("<6H", 20, 20, 0, 0, 0, 0)
                + sizes
                + struct.pack("<HHHII", 0, 0, 0, 0, at)
                + name
            )
        start, directory = file.tell(), b"".join(entries)
        file.write(directory + b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 3, 3, len(directory), start, 0))
    checkpoint = read_checkpoint(path)
    assert same(checkpoint.state["a"].read(), BASE)
    assert 0 < touched(path) < 2**24


def touched(path: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    mappings = Path("/proc/self/smaps").read_text().split(str(path))[1:]
    return sum(int(re.search(r"^Rss: +(\d+) kB$", text, re.MULTILINE)[1]) * 1024 for text in mappings)

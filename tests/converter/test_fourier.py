"""Fourier transforms against NumPy's in float64, and networks of them against JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swift_export.converter import stablehlo_to_onnx
from swift_export.converter.rules.fourier import roots
from swift_export.errors import LoweringError
from swift_export.system.arrays import as_pairs
from tests.converter.compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)


def drawn(*shape: int, dtype: str = "float32") -> np.ndarray:
    real, imaginary = rng.standard_normal((2, *shape))
    return (real + 1j * imaginary if dtype.startswith("c") else real).astype(dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12, 97, 1000])
def test_roots_of_unity_are_right_to_the_last_bits(n: int) -> None:
    steps = np.array([*range(-n, n), 10**12 + 1])
    found = roots(n, steps)
    for step, root in zip(steps.tolist(), found, strict=True):
        angle = 2 * np.arccos(np.longdouble(-1)) * (step % n) / n
        assert max(abs(root.real - np.cos(angle)), abs(root.imag - np.sin(angle))) < 3e-16
        if 4 * step % n == 0:
            assert root in (1, 1j, -1, -1j)


#: One product, two products, three; a prime that is one product, and one that is a convolution.
LENGTHS = [1, 2, 127, 251, 257, 360, 131 * 16]
KINDS: dict[str, Callable[..., Any]] = {
    "fft": lambda module, n, x: module.fft.fft(x),
    "ifft": lambda module, n, x: module.fft.ifft(x),
    "rfft": lambda module, n, x: module.fft.rfft(x.real),
    "irfft": lambda module, n, x: module.fft.irfft(x[..., : n // 2 + 1], n=n),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", LENGTHS)
def test_errors_are_a_small_multiple_of_the_last_digit(n: int, kind: str) -> None:
    function, x = KINDS[kind], drawn(3, n, dtype="complex64")
    (found,) = run(lower(lambda x: function(jnp, n, x), x), x)
    right = as_pairs(function(np, n, x.astype(np.complex128)))
    assert found.shape == right.shape
    assert np.linalg.norm(found - right) <= 4e-7 * np.linalg.norm(right)


@pytest.mark.parametrize("n", [60, 257, 1024])
def test_double_precision(n: int) -> None:
    with jax.enable_x64(True):
        run_and_compare(
            lambda x: [jnp.fft.fft(x), jnp.fft.irfft(jnp.fft.rfft(x))], drawn(3, n, dtype="float64"), rtol=1e-14
        )


def test_a_real_signal_is_one_product() -> None:
    model = lower(lambda x: jnp.fft.rfft(x).real, drawn(3, 64))
    assert op_types(model)["MatMul"] == 1
    assert "Pad" not in op_types(model)


def test_imaginary_parts_of_frequencies_without_an_image_have_no_effect() -> None:
    spectrum = drawn(2, 5, dtype="complex64")
    for n in (8, 9):
        run_and_compare(lambda z, n=n: jnp.fft.irfft(z, n=n), spectrum)


AXES: dict[str, Callable[..., Any]] = {
    "two": jnp.fft.fft2,
    "three": jnp.fft.fftn,
    "first": lambda x: jnp.fft.rfft(x, axis=1),
    "real": lambda x: jnp.fft.rfftn(x, axes=(1, 2, 3)),
    "back": lambda x: jnp.fft.irfftn(jnp.fft.rfftn(x, axes=(1, 2, 3)), s=x.shape[1:], axes=(1, 2, 3)),
    "long": lambda x: jnp.fft.ifft2(x, s=(130, 3), axes=(1, 2)),
    "convolved": lambda x: jnp.fft.fft2(x, s=(257, 2), axes=(1, 2)),
    "shifted": lambda x: jnp.fft.fftshift(jnp.fft.fft(x, axis=2), axes=2),
}


@pytest.mark.parametrize("name", AXES)
def test_several_axes(name: str) -> None:
    batched = name != "three"
    run_and_compare(AXES[name], drawn(2, 4, 6, 5), rtol=2e-6, symbolic="b" if batched else None)


def test_an_empty_batch_gives_an_empty_result() -> None:
    model = lower(jnp.fft.rfft, drawn(2, 12))
    assert run(model, np.zeros((0, 12), np.float32))[0].shape == (0, 7, 2)


def test_a_length_of_nothing_is_refused() -> None:
    kind = "tensor<2x0xcomplex<f32>>"
    line = f"%0 = stablehlo.fft %x, type = FFT, length = [0] : ({kind}) -> {kind}"
    with pytest.raises(LoweringError, match=r"fft at .*lengths \[0\]: expected at least 1"):
        stablehlo_to_onnx(f"func.func public @main(%x: {kind}) -> {kind} {{ {line}\n return %0 : {kind} }}")


MIXING, FILTER = drawn(5, 3, 4, dtype="complex64"), drawn(16, 2, 3, dtype="complex64")
INTO, OUT = drawn(3, 6, dtype="complex64"), drawn(6, 2, dtype="complex64")
RATES = np.exp(drawn(6, dtype="complex64").imag * 1j - 0.1).astype(np.complex64)


def spectral_convolution(x: Any) -> Any:
    """A layer of a Fourier neural operator: the lowest frequencies, mixed over channels."""
    low = jnp.einsum("bkc,kcd->bkd", jnp.fft.rfft(x, axis=1)[:, :5], MIXING)
    return jnp.fft.irfft(jnp.zeros((x.shape[0], 9, 4), low.dtype).at[:, :5].set(low), n=x.shape[1], axis=1)


def fourier_layer(x: Any) -> Any:
    """FNet's mixing of tokens and channels."""
    return jnp.fft.fft2(x, axes=(1, 2)).real + x


def global_filter(x: Any) -> Any:
    """A filter of images in the frequency domain, normalised as in GFNet."""
    spectrum = jnp.fft.rfft2(x, axes=(1, 2), norm="ortho")
    return jnp.fft.irfft2(spectrum * FILTER, s=x.shape[1:3], axes=(1, 2), norm="ortho")


def rotary(x: Any) -> Any:
    """Rotary embeddings by products of complex numbers."""
    turns = jnp.exp(1j * jnp.arange(x.shape[1])[:, None] / 100.0 ** (jnp.arange(x.shape[-1] // 2) / 8))
    turned = jax.lax.complex(x[..., 0::2], x[..., 1::2]) * turns
    return jnp.stack([turned.real, turned.imag], -1).reshape(x.shape)


def linear_recurrence(x: Any) -> Any:
    """A diagonal state space model (LRU, S5), by an associative scan."""

    def one(x: Any) -> Any:
        driven = x.astype(jnp.complex64) @ INTO
        pairs = jnp.broadcast_to(RATES, driven.shape), driven
        states = jax.lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), pairs)[1]
        return (states @ OUT).real

    return jax.vmap(one)(x)


def recurrence_by_steps(x: Any) -> Any:
    """The same kind of model, step by step."""
    rates = jnp.exp(jax.lax.complex(-jnp.arange(1.0, 4.0), jnp.arange(3.0)))

    def step(state: Any, u: Any) -> Any:
        state = rates * state + u
        return state, jnp.abs(state)

    return jax.lax.scan(step, jnp.zeros((x.shape[0], 3), jnp.complex64), jnp.swapaxes(x, 0, 1))


SIGNALS: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "Fourier layer": (fourier_layer, drawn(2, 12, 6)),
    "analytic signal": (lambda x: jnp.abs(jnp.fft.ifft(jnp.fft.fft(x) * jnp.array([1, 2, 2, 1, 0, 0]))), drawn(2, 6)),
    "cosine transform": (jax.scipy.fft.dct, drawn(2, 12)),
    "global filter": (global_filter, drawn(2, 16, 2, 3)),
    "inverse STFT": (
        lambda x: jax.scipy.signal.istft(jax.scipy.signal.stft(x, nperseg=8)[2], nperseg=8)[1],
        drawn(2, 24),
    ),
    "linear recurrence": (linear_recurrence, drawn(2, 9, 3)),
    "recurrence by steps": (recurrence_by_steps, drawn(2, 5, 3)),
    "rotary embeddings": (rotary, drawn(2, 5, 8)),
    "spectral convolution": (spectral_convolution, drawn(2, 16, 3)),
    "spectrogram": (lambda x: jnp.abs(jax.scipy.signal.stft(x, nperseg=16, noverlap=12)[2]) ** 2, drawn(2, 64)),
    "spectrum of Welch": (lambda x: jnp.log(jax.scipy.signal.welch(x, nperseg=16)[1] + 1e-6), drawn(2, 64)),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_models_of_signals_compute_what_they_compute_in_jax(name: str) -> None:
    function, x = SIGNALS[name]
    run_and_compare(function, x, rtol=3e-6)

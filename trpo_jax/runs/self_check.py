"""A check of the compiler, since some compute wrong numbers without an error."""

import contextlib
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
SIMULATORS = ("gymnax", "gymnasium", "envpool", "brax", "playground", "mujoco")
PACKAGES = LIBRARIES + SIMULATORS
_FUSIONS = "--xla_cpu_experimental_ynn_fusion_type"  # empty, there are none


class Check(NamedTuple):
    """A numerical check: what was computed, its result here, and the right one."""

    name: str
    result: float
    expected: float

    @property
    def passed(self) -> bool:
        """Whether the result is exactly right."""
        return self.result == self.expected


def self_check() -> list[Check]:
    """Run two small programs that jaxlib 0.10.2 computes wrongly on CPU.

    Both results are exact in float32 on any device if the compiler is sound. Products
    are computed in full precision, since a GPU rounds their factors to ten bits by
    default. The fault is number 39103 on the tracker of JAX.

    Returns:
        A `Check` for each program.

    Example:
        >>> all(check.passed for check in self_check())
        True
    """
    rows = np.zeros((32_769, 3), np.float32)
    rows[:, 0] = np.arange(len(rows))

    total = jax.jit(lambda a: jnp.sum(jnp.broadcast_to(a, (2, 1024, 1024))))(
        np.ones((1024, 1), np.float32)
    )
    identity = np.eye(3, dtype=np.float32)
    with jax.default_matmul_precision("highest"):
        squares = jax.jit(jax.vmap(lambda row: jnp.sum((identity @ row) ** 2)))(rows)
    wrong = np.sum(np.asarray(squares) != rows[:, 0] ** 2)
    return [
        Check("sum of a broadcast array", float(total), 2.0 * 1024 * 1024),
        Check("wrong rows of a batched matrix product", float(wrong), 0.0),
    ]


def require_device() -> None:
    """Refuse to continue, with a `ValueError`, if JAX cannot use any device."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter since JAX 0.10
        asked = getattr(jax.config, "jax_platforms", None)
        if asked is None:
            raise ValueError(f"JAX finds no device to run on: {error}") from error
        raise ValueError(
            f"JAX_PLATFORMS={asked} asks for a device that JAX cannot use here: unset "
            "it to use what there is, or install a JAX that supports the device, such "
            "as pip install 'jax[cuda13]'"
        ) from error


def known_fault() -> str | None:
    """Return what is known to be wrong with this jaxlib on CPU, or None.

    The sums of jaxlib 0.11 are wrong from time to time, which a check can miss.
    """
    import jaxlib

    switched_off = f"{_FUSIONS}=" in os.environ.get("XLA_FLAGS", "").split()
    if (
        jax.default_backend() != "cpu"
        or not jaxlib.__version__.startswith("0.11.")
        or switched_off
    ):
        return None
    return (
        f"jaxlib {jaxlib.__version__} adds wrongly on CPU from time to time; install "
        "another one with pip install 'jax<0.11,!=0.10.2', or set the variable "
        f"XLA_FLAGS={_FUSIONS}="
    )


def require_sound_compiler() -> None:
    """Refuse to continue, with a `RuntimeError`, if numbers would be wrong."""
    require_device()
    if fault := known_fault():
        raise RuntimeError(fault)
    for check in self_check():
        if not check.passed:
            import jaxlib

            raise RuntimeError(
                f"this compiler computes wrong numbers: {check.name} gives "
                f"{check.result}, not {check.expected} (jax {jax.__version__}, jaxlib "
                f"{jaxlib.__version__}, {jax.default_backend()}); install another "
                "jaxlib"
            )


def describe() -> dict[str, str]:
    """Return the versions of packages, and the devices, by name."""
    require_device()
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import trpo_jax

    versions = {
        "trpo_jax": trpo_jax.__version__,
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # some simulators are extras
            versions[package] = version(package)
    devices = [f"{device.platform}:{device.device_kind}" for device in jax.devices()]
    return versions | {"device": ", ".join(devices)}

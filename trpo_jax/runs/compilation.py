"""Compiling programs ahead of time, and refusing those that need too much memory."""

import contextlib
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

# On CPU most of the waiting time is compilation. At LLVM's optimisation level 1 it
# takes two thirds of the time that the default level takes, and training is no slower.
# Without fusion emitters it takes half, and training a third longer, which suits runs
# of a second or two. At level 0 it takes a quarter, and training three times as long,
# which suits programs that run once; see `benchmarks/results/timing.json`.
FOR_LONG = {"xla_backend_optimization_level": 1}
BRIEFLY = FOR_LONG | {"xla_cpu_use_fusion_emitters": False}
ONCE = BRIEFLY | {"xla_backend_optimization_level": 0}


def compile_for(options: dict[str, Any], function: Any, *args: Any) -> Any:
    """Compile a function, jitted or not, for arguments of these shapes and types.

    The compiler options, used on CPU, are `FOR_LONG`, `BRIEFLY` or `ONCE`.
    """
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    lowered = jitted.lower(*args)
    if jax.default_backend() == "cpu":
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError:
            pass  # another version of the compiler may not know an option
    return lowered.compile()


def require_memory(compiled: Sequence[Any], at_once: int = 1) -> None:
    """Refuse programs that need more memory than is free, with a `ValueError`.

    One of the compiled programs runs at a time, in `at_once` copies side by side.
    """
    needed = at_once * max(map(_bytes_of, compiled), default=0)
    free = free_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"this run needs about {needed / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free: choose smaller num_envs, num_steps or "
            "hidden_sizes, or fewer seeds or evaluation_episodes"
        )


def _bytes_of(compiled: Any) -> int:
    """Return the largest memory that a program holds, as its compiler reports it."""
    usage = compiled.memory_analysis()
    if usage is None:
        return 0
    return (
        usage.argument_size_in_bytes
        + usage.output_size_in_bytes
        + usage.temp_size_in_bytes
        - usage.alias_size_in_bytes
    )


def free_memory() -> int | None:
    """Return the bytes that are free on the device, or None if it does not say."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    candidates = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        text = pathlib.Path("/proc/meminfo").read_text("ascii")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        candidates.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # the limit of a container
        limit, used = (
            int(pathlib.Path("/sys/fs/cgroup", name).read_text("ascii"))
            for name in ("memory.max", "memory.current")
        )
        candidates.append(max(limit - used, 0))
    return min(candidates, default=None)

"""Compiling programs ahead of time, and refusing those that need too much memory."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from trpo_jax.runs.collector import without_collector

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

    The compiler options, used on CPU, are `FOR_LONG`, `BRIEFLY` or `ONCE`. Those that
    this version of the compiler does not know are left out.
    """
    return _compile(options, _lower(function, *args))


def compile_together(*programs: tuple[Any, ...]) -> list[Any]:
    """Compile programs, each given by the arguments of `compile_for`, in this order.

    One is traced, in Python, while those before it are being compiled. What is traced
    quickly should therefore come first, and what takes long to compile next.
    """
    with ThreadPoolExecutor(len(programs)) as pool, without_collector():
        jobs = [
            pool.submit(_compile, options, _lower(function, *args))
            for options, function, *args in programs
        ]
        return [job.result() for job in jobs]


def _lower(function: Any, *args: Any) -> Any:
    return (function if hasattr(function, "lower") else jax.jit(function)).lower(*args)


def _compile(options: dict[str, Any], lowered: Any) -> Any:
    known = dict(options) if jax.default_backend() == "cpu" else {}
    while known:
        try:
            return lowered.compile(compiler_options=known)
        except jax.errors.JaxRuntimeError as error:
            named = [name for name in known if f"'{name}'" in str(error)]
            for name in named or list(known)[-1:]:
                del known[name]
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
    candidates = list(_left_in_control_groups())
    with contextlib.suppress(OSError, KeyError, ValueError):
        text = pathlib.Path("/proc/meminfo").read_text("ascii")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        candidates.append(int(lines["MemAvailable"].split()[0]) * 1024)
    return min(candidates, default=None)


# By the version of control groups: where they are, the files that hold the limit and
# the use, and what precedes the names in `memory.stat` that count the groups inside.
_CONTROL_GROUPS = {
    1: ("/sys/fs/cgroup/memory", "limit_in_bytes", "usage_in_bytes", "total_"),
    2: ("/sys/fs/cgroup", "max", "current", ""),
}
# Copies of files, which the kernel gives up as soon as somebody needs the memory.
_RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")


def _left_in_control_groups() -> Iterator[int]:
    """Yield the bytes left in each control group of this process that has a limit.

    A container is a control group. A limit also holds for the groups inside.
    """
    try:
        memberships = pathlib.Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        memberships = ["0::/"]
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, limit_file, use_file, prefix = _CONTROL_GROUPS[1 if controllers else 2]
        group = pathlib.PurePosixPath(path.lstrip("/"))
        for level in (group, *group.parents):
            folder = pathlib.Path(root, level)
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                limit, use = (
                    int((folder / f"memory.{name}").read_text("ascii"))
                    for name in (limit_file, use_file)
                )
                yield max(limit - max(use - _reclaimable(folder, prefix), 0), 0)


def _reclaimable(folder: pathlib.Path, prefix: str) -> int:
    """Return how many of the bytes in use in a control group can be had at once."""
    with contextlib.suppress(OSError, ValueError):
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
        sizes = dict(line.split() for line in lines)
        return sum(int(sizes.get(prefix + name, 0)) for name in _RECLAIMABLE)
    return 0

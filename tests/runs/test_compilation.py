"""Options that a compiler does not know, and the memory that a machine has left."""

import pathlib
import threading

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_identical

from trpo_jax.runs.compilation import (
    BRIEFLY,
    FOR_LONG,
    compile_for,
    compile_together,
    free_memory,
)

GIB = 2**30
NONE = 2**63 - 4096  # what version 1 of control groups says where nothing is limited


class Compiler:
    """A jitted function whose compiler knows some options, and notes what it is asked.

    `wording` is its message about an unknown option.
    """

    def __init__(self, known, wording):
        self.known, self.wording, self.asked = known, wording, []

    def lower(self, *args):
        return self

    def compile(self, compiler_options=None):
        options = compiler_options or {}
        self.asked.append(set(options))
        for name in options:
            if name not in self.known:
                raise jax.errors.JaxRuntimeError(self.wording.format(name))
        return self


@pytest.mark.parametrize(
    "wording", ["INVALID_ARGUMENT: No such compile option: '{}'", "unknown option"]
)
@pytest.mark.parametrize("known", ["a", "", "abc"])
def test_unknown_options_are_left_out_one_at_a_time(known, wording):
    compiler = Compiler(known, wording)
    assert compile_for({"a": 1, "b": False, "c": 2}, compiler) is compiler
    assert compiler.asked[-1] == set(known)
    assert len(compiler.asked) == 4 - len(known)


def test_this_compiler_keeps_the_options_that_it_knows(monkeypatch):
    given = []
    usual = jax.stages.Lowered.compile

    def compile_and_note(self, compiler_options=None):
        compiled = usual(self, compiler_options)
        given.append(compiler_options)
        return compiled

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_and_note)
    options = {"xla_no_such_option": True, **FOR_LONG, "xla_nor_this_one": 3}
    program = compile_for(options, lambda x: x + 1, jnp.float32(1))
    assert program(jnp.float32(1)) == 2
    assert given == [FOR_LONG]


def test_the_option_without_which_every_compilation_takes_twice_as_long_is_known():
    """jax 0.11 has dropped it, and 0.12 has nothing in its place."""
    if jax.__version_info__ < (0, 11):
        lowered = jax.jit(lambda x: x + 1).lower(jnp.float32(1))
        lowered.compile(compiler_options=BRIEFLY)  # or raises


def test_what_fails_without_any_option_is_an_error():
    class Broken(Compiler):
        def compile(self, compiler_options=None):
            raise jax.errors.JaxRuntimeError("INTERNAL: out of registers")

    with pytest.raises(jax.errors.JaxRuntimeError, match="registers"):
        compile_for(FOR_LONG, Broken(set(), ""))


def test_a_program_is_traced_while_those_before_it_are_compiled():
    traced = [threading.Event() for _ in range(3)]
    happened = []

    class Program:
        def __init__(self, number):
            self.number = number

        def lower(self, x):
            happened.append(("trace", self.number, x))
            traced[self.number].set()
            return self

        def compile(self, compiler_options=None):
            # Each is compiled once the one after it has been traced.
            assert traced[min(self.number + 1, 2)].wait(60)
            return self.number, compiler_options

    options = [{"a": 1}, {"b": 2}, {"c": 3}]
    programs = [(o, Program(i), 10 * i) for i, o in enumerate(options)]
    assert compile_together(*programs) == list(enumerate(options))
    assert happened == [("trace", i, 10 * i) for i in range(3)]


def test_programs_that_are_compiled_together_are_those_compiled_alone():
    x = jnp.arange(4.0)
    functions = [jnp.sin, jax.jit(jnp.cumsum), lambda x: x[::-1]]
    together = compile_together(*((FOR_LONG, f, x) for f in functions))
    for function, program in zip(functions, together, strict=True):
        assert_identical(program(x), compile_for(FOR_LONG, function, x)(x))


def test_an_error_while_tracing_is_raised():
    def wrong(x):
        raise TypeError("no such shape")

    x = jnp.float32(1)
    with pytest.raises(TypeError, match="no such shape"):
        compile_together((FOR_LONG, jnp.sin, x), (FOR_LONG, wrong, x))


@pytest.fixture
def machine(monkeypatch):
    """Play the files of a machine of 64 GiB, of which 48 are available."""
    files = {
        "/proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemAvailable: {48 * 2**20} kB\n"
    }

    def read_text(self, *args, **kwargs):
        if str(self) not in files:
            raise FileNotFoundError(str(self))
        return files[str(self)]

    monkeypatch.setattr(pathlib.Path, "read_text", read_text)
    return files


def group(version, path, limit, use, stat):
    root, names, prefix = {
        1: ("/sys/fs/cgroup/memory", ("limit_in_bytes", "usage_in_bytes"), "total_"),
        2: ("/sys/fs/cgroup", ("max", "current"), ""),
    }[version]
    folder = pathlib.PurePosixPath(root, path)
    lines = "".join(f"{prefix}{name} {size}\n" for name, size in stat.items())
    if version == 1:  # it counts the group alone as well, which is too little
        lines = "".join(f"{name} 0\n" for name in stat) + lines
    return {
        f"{folder}/memory.{names[0]}": f"{limit}\n",
        f"{folder}/memory.{names[1]}": f"{use}\n",
        f"{folder}/memory.stat": f"anon {GIB}\n{lines}",
    }


MEMBER = {1: "9:name=systemd:/{0}\n4:cpu,memory:/{0}\n0::/\n", 2: "0::/{0}\n"}
CACHE = {
    "inactive_file": 4 * GIB, "active_file": GIB, "slab_reclaimable": GIB // 2,
    "file": 7 * GIB,  # shared memory is part of it, and cannot be had back
}  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("path", ["", "user.slice/job-1.scope"])
def test_the_page_cache_of_a_container_is_not_in_use(version, path, machine):
    machine["/proc/self/cgroup"] = MEMBER[version].format(path)
    machine |= group(version, path, 8 * GIB, 8 * GIB - 4096, CACHE)
    assert free_memory() == 5 * GIB + GIB // 2 + 4096


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_of_nested_groups_counts(version, machine):
    machine["/proc/self/cgroup"] = MEMBER[version].format("pod/container")
    machine |= group(version, "", NONE if version == 1 else "max", 40 * GIB, {})
    machine |= group(version, "pod", 8 * GIB, 7 * GIB, {"inactive_file": GIB})
    machine |= group(version, "pod/container", 6 * GIB, GIB, {})
    assert free_memory() == 2 * GIB


@pytest.mark.parametrize("version", [1, 2])
def test_the_group_of_a_container_may_be_shown_at_the_root(version, machine):
    machine["/proc/self/cgroup"] = MEMBER[version].format("docker/0123abcd")
    machine |= group(version, "", 4 * GIB, 3 * GIB, {"active_file": 2 * GIB})
    assert free_memory() == 3 * GIB


def test_a_system_that_does_not_name_the_groups_has_their_root(machine):
    machine |= group(2, "", 4 * GIB, 3 * GIB, {})
    assert free_memory() == GIB


def test_statistics_that_cannot_be_read_count_nothing_as_reclaimable(machine):
    machine |= group(2, "", 4 * GIB, 3 * GIB, CACHE)
    machine["/sys/fs/cgroup/memory.stat"] = "nonsense\n"
    assert free_memory() == GIB


@pytest.mark.parametrize("limit", ["max", str(NONE), str(100 * GIB)])
def test_a_limit_beyond_what_the_machine_has_says_nothing(limit, machine):
    machine |= group(2, "", limit, 3 * GIB, {})
    assert free_memory() == 48 * GIB


def test_a_group_beyond_its_limit_has_nothing_left(machine):
    machine |= group(2, "", 2 * GIB, 3 * GIB, {"inactive_file": GIB // 2})
    assert free_memory() == 0


def test_a_system_without_these_files_does_not_say(machine):
    machine.clear()
    assert free_memory() is None


def test_this_machine_has_memory_left():
    assert free_memory() is None or free_memory() > 0

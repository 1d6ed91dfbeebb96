"""The programs of a run, compiled before the clock of training starts."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.environments.base import Environment
from trpo_jax.algorithm.evaluation import Evaluation, evaluate
from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.agent.networks import Agent
from trpo_jax.runs.plan import Plan, cores
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import init, train_step

PyTree = Any

# On CPU most of the wait is for the compiler. All three programs at LLVM's level 1 take
# two thirds of the time of its default level, and train no slower. Without fusion
# emitters they take half, and training a third longer: right for what runs for a
# second or two. At level 0 they take a quarter, and training three times as long: for
# what runs once. Numbers in `benchmarks/results/timing.json`.
FOR_LONG = {"xla_backend_optimization_level": 1}
BRIEFLY = FOR_LONG | {"xla_cpu_use_fusion_emitters": False}
ONCE = BRIEFLY | {"xla_backend_optimization_level": 0}


LARGEST_GROUP = 16  # of seeds, on CPU: larger ones leave its caches, and gain nothing

Groups = tuple[TrainState, ...]


class Programs(NamedTuple):
    """The functions that a run consists of.

    Agents are trained in groups of equal size, as many at a time as there are cores,
    each group in one program. The last one is filled up with repetitions of the last
    seed.

    Attributes:
        init: seeds `[K]` → states, a pytree a group, whose arrays lead with the seed;
            on the host, a pytree a seed. What simulators there were are closed.
        chunk: states and a number of iterations, at most `plan.chunk`, → states and a
            log `[plan.chunk, K, M]` of the `Metrics`, of which that many rows are set.
            The states put in are used up.
        evaluate: seeds `[K]` and states → an `Evaluation` of arrays `[K, 2, E]`, greedy
            first and then sampled.
        gather: states → one pytree, whose arrays lead with the K seeds.
        scatter: seeds `[K]`, such a pytree and what `simulators` gave, or None, →
            states. Without it simulators on the host start new episodes.
        template: such a pytree of shapes.
        simulators: → state of each environment on the host, seed by seed, or None where
            it cannot be had or is part of the states.
        close: let go of threads and simulators.
    """

    init: Callable[[np.ndarray], Groups]
    chunk: Callable[[Groups, np.int32], tuple[Groups, np.ndarray]]
    evaluate: Callable[[np.ndarray, Groups], Evaluation]
    gather: Callable[[Groups], TrainState]
    scatter: Callable[[np.ndarray, TrainState, list[bytes] | None], Groups]
    template: TrainState
    simulators: Callable[[], list[bytes] | None]
    close: Callable[[], None]


def compile_programs(plan: Plan, environment: Environment, agent: Agent) -> Programs:
    """Compile the programs of a run, two at a time."""
    config = plan.config
    on_cpu = jax.default_backend() == "cpu"
    at_once = cores() if on_cpu else 1
    size = -(-plan.seeds // min(plan.seeds, at_once))  # of a group
    if on_cpu:
        size = -(-size // -(-size // LARGEST_GROUP))
    groups = -(-plan.seeds // size)
    at_once = min(at_once, groups)

    def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
        if size > 1:
            return jax.vmap(function)

        def alone(*args: Any) -> Any:  # a batch axis of one would only slow it down
            one = function(*jax.tree.map(lambda x: x[0], args))
            return jax.tree.map(lambda x: x[None], one)

        return alone

    @over_seeds
    def begin(seed: jax.Array) -> TrainState:
        return init(stream(seed, 0), environment, agent, config)

    @over_seeds
    def step(state: TrainState) -> tuple[TrainState, Metrics]:
        return train_step(state, environment, agent, config)

    def chunk(
        states: TrainState, iterations: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def iterate(i: jax.Array, carry: tuple) -> tuple:
            states, log = carry
            states, metrics = step(states)
            return states, log.at[i].set(jnp.stack(metrics, axis=-1))

        log = jnp.zeros((plan.chunk, size, len(Metrics._fields)))
        return jax.lax.fori_loop(0, iterations, iterate, (states, log))

    @over_seeds
    def judge(seed: jax.Array, policy_params: PyTree, normalizer: PyTree) -> Evaluation:
        def play(greedy: jax.Array) -> Evaluation:
            return evaluate(
                stream(seed, 1),
                environment,
                agent,
                policy_params,
                normalizer,
                episodes=plan.evaluation_episodes,
                greedy=greedy,
            )

        return jax.vmap(play)(jnp.array([True, False]))

    def gather(states: Groups) -> TrainState:
        return jax.tree.map(lambda *x: jnp.concatenate(x)[: plan.seeds], *states)

    seeds = jax.ShapeDtypeStruct((size,), jnp.uint32)
    states = jax.eval_shape(begin, seeds)
    judged = (seeds, states.policy_params, states.normalizer)
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(compile_for, ONCE, begin, seeds),
            pool.submit(
                compile_for,
                BRIEFLY if plan.compile_briefly else FOR_LONG,
                jax.jit(chunk, donate_argnums=0),
                states,
                np.int32(0),
            ),
            pool.submit(compile_for, BRIEFLY, judge, *judged),
        ]
        if groups > 1:
            together = ((states,) * groups,)
            jobs.append(pool.submit(compile_for, ONCE, gather, *together))
    compiled = [job.result() for job in jobs]
    require_memory(compiled[:3], at_once)
    require_memory(compiled[3:])
    return _side_by_side(plan.seeds, size, groups, at_once, compiled, states)


def _side_by_side(
    seeds: int,
    size: int,
    groups: int,
    at_once: int,
    compiled: list,
    of_group: TrainState,
) -> Programs:
    """Run programs of one group for all groups, so many at a time, a thread each."""
    init, chunk, evaluate, *gather = compiled
    pool = ThreadPoolExecutor(at_once)

    def divide(all_seeds: np.ndarray) -> list[np.ndarray]:
        filled = np.minimum(np.arange(groups * size), seeds - 1)
        return np.split(all_seeds[filled], groups)

    def init_all(all_seeds: np.ndarray) -> Groups:
        return tuple(pool.map(init, divide(all_seeds)))

    def chunk_all(states: Groups, iterations: np.int32) -> tuple[Groups, np.ndarray]:
        def one(state: TrainState) -> tuple[TrainState, np.ndarray]:
            state, log = chunk(state, iterations)
            return state, np.asarray(log)

        states, logs = zip(*pool.map(one, states), strict=True)
        return states, np.concatenate(logs, axis=1)[:, :seeds]

    def evaluate_all(all_seeds: np.ndarray, states: Groups) -> Evaluation:
        def one(of_group: np.ndarray, state: TrainState) -> Evaluation:
            judged = evaluate(of_group, state.policy_params, state.normalizer)
            return jax.tree.map(np.asarray, judged)

        judged = pool.map(one, divide(all_seeds), states)
        return jax.tree.map(lambda *x: np.concatenate(x)[:seeds], *judged)

    def gather_all(states: Groups) -> TrainState:
        return gather[0](states) if gather else states[0]

    def scatter_all(all_seeds: np.ndarray, tree: TrainState, _: None = None) -> Groups:
        rows = divide(np.arange(len(all_seeds)))
        return tuple(
            jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), tree)
            for rows in rows
        )

    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((seeds, *leaf.shape[1:]), leaf.dtype),
        of_group,
    )
    return Programs(
        init_all, chunk_all, evaluate_all, gather_all, scatter_all, template,
        lambda: None, functools.partial(pool.shutdown, wait=False),
    )  # fmt: skip


def stream(seed: int | jax.Array, number: int) -> jax.Array:
    """Return the key of a run for one purpose.

    0 for training, 1 for its judgement, 2 for later ones, 3 for films.
    """
    return jax.random.fold_in(jax.random.key(seed), number)


def require_memory(compiled: Sequence[Any], at_once: int = 1) -> None:
    """Refuse programs that need more memory than there is, before one of them runs.

    Args:
        compiled: of which one runs at a time.
        at_once: times, side by side.

    Raises:
        ValueError: with what is needed and what there is.
    """
    needed = at_once * max(map(_bytes_of, compiled), default=0)
    free = free_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"this run needs about {needed / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free: take smaller num_envs, num_steps, "
            "hidden_sizes, or fewer seeds or evaluation_episodes"
        )


def _bytes_of(compiled: Any) -> int:
    """Return what a program holds at most, as its compiler says."""
    found = compiled.memory_analysis()
    if found is None:
        return 0
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
        - found.alias_size_in_bytes
    )


def free_memory() -> int | None:
    """Return the bytes free where programs run, or None where nobody tells."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    found = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = dict(
            line.split(":", 1)
            for line in pathlib.Path("/proc/meminfo").read_text("ascii").splitlines()
        )
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # of a container
        limit, used = (
            int(pathlib.Path("/sys/fs/cgroup", name).read_text("ascii"))
            for name in ("memory.max", "memory.current")
        )
        found.append(max(limit - used, 0))
    return min(found, default=None)


def compile_for(options: dict[str, Any], function: Any, *args: Any) -> Any:
    """Compile a function, jitted or not, for arguments of these shapes and types.

    Args:
        options: of the compiler on CPU, as `FOR_LONG`.
        function: to compile.
        args: pytrees of arrays or of `jax.ShapeDtypeStruct`.
    """
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    lowered = jitted.lower(*args)
    if jax.default_backend() == "cpu":
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError:
            pass  # another version of the compiler may not know an option
    return lowered.compile()

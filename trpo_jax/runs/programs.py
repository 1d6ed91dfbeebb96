"""The programs of a run, compiled before training starts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.evaluation import Evaluation, evaluate
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import train_step
from trpo_jax.environments.base import Environment
from trpo_jax.runs.compilation import (
    BRIEFLY,
    FOR_LONG,
    ONCE,
    compile_together,
    require_memory,
)
from trpo_jax.runs.keys import KeyPurpose, run_key
from trpo_jax.runs.plan import Plan, cores

PyTree = Any

LARGEST_GROUP = 16  # seeds, on CPU: a larger group leaves the caches and gains nothing

Groups = tuple[TrainState, ...]
"""The states of all agents: one pytree for each group of seeds that share a program."""


class Programs(Protocol):
    """The functions that a run consists of, wherever the simulator runs.

    `template` has the shapes and types of the states of all agents in one pytree, whose
    arrays lead with the K seeds. Seeds are `[K]`, uint32.
    """

    template: TrainState

    def init(self, seeds: np.ndarray) -> Groups:
        """Return the states of new agents, and close simulators that were in use."""

    def chunk(self, states: Groups, iterations: np.int32) -> tuple[Groups, np.ndarray]:
        """Train all agents for at most `plan.chunk` iterations; consume their states.

        The first `iterations` rows of the log `[plan.chunk, K, M]` are set.
        """

    def evaluate(self, seeds: np.ndarray, states: Groups) -> Evaluation:
        """Play greedy and then sampled episodes with every agent, `[K, 2, E]`.

        Afterwards the agents are not trained any more, since simulators are closed.
        """

    def gather(self, states: Groups) -> TrainState:
        """Return the states as one pytree, whose arrays lead with the K seeds."""

    def scatter(
        self, seeds: np.ndarray, tree: TrainState, saved: list[bytes] | None
    ) -> Groups:
        """Return the states of agents that were gathered, perhaps in another process.

        The simulators get the states `saved` by `simulator_states`, and raise
        `ValueError` if they do not accept them; with None they start new episodes.
        """

    def simulator_states(self) -> list[bytes] | None:
        """Return the state of every environment on the host, if it can be saved."""

    def close(self) -> None:
        """Release threads and simulators."""


class CompiledPrograms:
    """The `Programs` of a run whose simulator is part of the compiled program.

    Agents are trained in groups of equal size: one program for each group, and as many
    groups at a time as there are cores. The last group is filled up with repetitions of
    the last seed. A `ValueError` refuses programs that need too much memory.
    """

    def __init__(self, plan: Plan, environment: Environment, agent: Agent) -> None:
        self._seeds = seeds = plan.run.seeds
        on_cpu = jax.default_backend() == "cpu"
        at_once = cores() if on_cpu else 1
        size = -(-seeds // min(seeds, at_once))
        if on_cpu:
            size = -(-size // -(-size // LARGEST_GROUP))
        self._size, self._groups = size, -(-seeds // size)
        at_once = min(at_once, self._groups)
        group = self._compile(plan, environment, agent, at_once)
        array = jax.ShapeDtypeStruct
        self.template = jax.tree.map(
            lambda leaf: array((seeds, *leaf.shape[1:]), leaf.dtype), group
        )
        self._pool = ThreadPoolExecutor(at_once)

    def _compile(
        self, plan: Plan, environment: Environment, agent: Agent, at_once: int
    ) -> TrainState:
        """Compile the programs of one group; return its shapes."""
        size = self._size
        begin, chunk, play = _functions(plan, environment, agent, size)
        seeds = jax.ShapeDtypeStruct((size,), jnp.uint32)
        states = jax.eval_shape(begin, seeds)
        training = BRIEFLY if plan.compile_briefly else FOR_LONG
        evaluated = (seeds, states.policy_params, states.normalizer)
        programs: list[tuple[Any, ...]] = [  # the first is traced already
            (ONCE, begin, seeds),
            (training, chunk, states, np.int32(0)),
            (BRIEFLY, play, *evaluated),
        ]
        if self._groups > 1:
            together = (states,) * self._groups
            programs.append((ONCE, self._concatenate, together))
        compiled = compile_together(*programs)
        require_memory(compiled[:3], at_once)
        require_memory(compiled[3:])
        self._init, self._chunk, self._evaluate, *self._gather = compiled
        return states

    def _concatenate(self, states: Groups) -> TrainState:
        return jax.tree.map(lambda *x: jnp.concatenate(x)[: self._seeds], *states)

    def _divide(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return one entry of each seed `[K]` by groups, the last one filled up."""
        filled = np.minimum(np.arange(self._groups * self._size), self._seeds - 1)
        return np.split(rows[filled], self._groups)

    def init(self, seeds: np.ndarray) -> Groups:
        """Return the states of new agents; see `Programs`."""
        return tuple(self._pool.map(self._init, self._divide(seeds)))

    def chunk(self, states: Groups, iterations: np.int32) -> tuple[Groups, np.ndarray]:
        """Train all agents for some iterations; see `Programs`."""

        def one(state: TrainState) -> tuple[TrainState, np.ndarray]:
            state, log = self._chunk(state, iterations)
            return state, np.asarray(log)

        states, logs = zip(*self._pool.map(one, states), strict=True)
        return states, np.concatenate(logs, axis=1)[:, : self._seeds]

    def evaluate(self, seeds: np.ndarray, states: Groups) -> Evaluation:
        """Play whole episodes with every agent; see `Programs`."""

        def one(group: np.ndarray, state: TrainState) -> Evaluation:
            result = self._evaluate(group, state.policy_params, state.normalizer)
            return jax.tree.map(np.asarray, result)

        results = self._pool.map(one, self._divide(seeds), states)
        return jax.tree.map(lambda *x: np.concatenate(x)[: self._seeds], *results)

    def gather(self, states: Groups) -> TrainState:
        """Return the states as one pytree; see `Programs`."""
        return self._gather[0](states) if self._gather else states[0]

    def scatter(
        self, seeds: np.ndarray, tree: TrainState, saved: list[bytes] | None = None
    ) -> Groups:
        """Return the states of agents that were gathered; see `Programs`."""
        return tuple(
            jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), tree)
            for rows in self._divide(np.arange(len(seeds)))
        )

    def simulator_states(self) -> None:
        """Return None: the simulators are part of the states."""

    def close(self) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=False)


def _functions(
    plan: Plan, environment: Environment, agent: Agent, size: int
) -> tuple[Callable, Callable, Callable]:
    """Return how a group of seeds begins, trains and is evaluated, not yet compiled."""

    def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
        if size > 1:
            return jax.vmap(function)

        def alone(*args: Any) -> Any:  # a batch axis of one would only slow it down
            one = function(*jax.tree.map(lambda x: x[0], args))
            return jax.tree.map(lambda x: x[None], one)

        return alone

    @over_seeds
    def begin(seed: jax.Array) -> TrainState:
        return init(run_key(seed, KeyPurpose.TRAINING), environment, agent, plan.config)

    @over_seeds
    def step(state: TrainState) -> tuple[TrainState, Metrics]:
        return train_step(state, environment, agent, plan.config)

    def chunk(states: TrainState, count: jax.Array) -> tuple[TrainState, jax.Array]:
        def iterate(i: jax.Array, carry: tuple) -> tuple:
            states, log = carry
            states, metrics = step(states)
            return states, log.at[i].set(jnp.stack(metrics, axis=-1))

        log = jnp.zeros((plan.chunk, size, len(Metrics._fields)), jnp.float32)
        return jax.lax.fori_loop(0, count, iterate, (states, log))

    @over_seeds
    def play(seed: jax.Array, policy_params: PyTree, normalizer: PyTree) -> Evaluation:
        def episodes(greedy: jax.Array) -> Evaluation:
            key = run_key(seed, KeyPurpose.FINAL_EVALUATION)
            args = key, environment, agent, policy_params, normalizer
            return evaluate(*args, episodes=plan.run.evaluation_episodes, greedy=greedy)

        return jax.vmap(episodes)(jnp.array([True, False]))

    return begin, jax.jit(chunk, donate_argnums=0), play

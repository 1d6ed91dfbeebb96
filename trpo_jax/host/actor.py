"""The compiled policy that a loop on the host calls, and the keys it samples with."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.acting import act_and_remember, begin_where
from trpo_jax.agent.distributions import sample_rows
from trpo_jax.agent.memory import Memory
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.state import TrainState

PyTree = Any
_BLOCK = 128  # steps whose keys are made at once


class Actor:
    """The compiled policy that a host loop calls at every step.

    `actor(policy_params, normalizer, keys, greedy, observation)` returns a pytree of
    actions `[B, ...]`, their log-probabilities `[B]`, and the next memory. The keys are
    from `step_keys`. An agent with a memory also takes its `Memory` `[B, ...]`, and
    `[B]` bool, where an episode begins, so that the memory is to be replaced. The
    critic's parameters are needed if its memory is not empty.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent, self.remembers = agent, agent.remembers
        self._program = jax.jit(functools.partial(_act, agent))
        self.begin_where = jax.jit(functools.partial(begin_where, agent))

    def __call__(
        self,
        policy_params: PyTree,
        normalizer: PyTree,
        keys: jax.Array,
        greedy: Any,
        observation: PyTree,
        memory: Memory = Memory(),  # noqa: B008
        begins: Any = None,
        critic_params: PyTree = None,
    ) -> tuple[PyTree, jax.Array, Memory]:
        """Act in a batch of environments."""
        acting = policy_params, normalizer, keys, greedy, observation
        return self._program(*acting, memory, begins, critic_params)


def _act(
    agent: Agent,
    policy_params: PyTree,
    normalizer: PyTree,
    keys: jax.Array,
    greedy: jax.Array,
    observation: PyTree,
    memory: Memory,
    begins: jax.Array | None,
    critic_params: PyTree,
) -> tuple[PyTree, jax.Array, Memory]:
    if begins is not None:
        memory = begin_where(agent, memory, begins)
    params = Parameters(policy_params, critic_params, normalizer)
    policy, memory = act_and_remember(agent, params, observation, memory)
    # Without the barrier XLA on CPU fuses the last layer into everything that
    # follows and computes it each time, which takes three times as long.
    policy = jax.lax.optimization_barrier(policy)
    sample = sample_rows(policy, jax.random.wrap_key_data(keys))
    action = jax.tree.map(
        lambda mode, sample: jnp.where(greedy, mode, sample), policy.mode(), sample
    )
    return action, policy.log_prob(action), memory


class Parameters(NamedTuple):
    """The part of a `TrainState` that acting needs."""

    policy_params: PyTree
    critic_params: PyTree
    normalizer: PyTree


class HostMemory:
    """The memory of an agent, in pieces, one for each simulator.

    `start` is the `Memory` `[B, ...]` of all environments.
    """

    def __init__(self, actor: Actor, start: Memory) -> None:
        self._actor, self._start = actor, start
        self._pieces: dict[int, Memory] = {}

    def act(
        self, envs: slice, acting: tuple, begins: Any, critic_params: PyTree = None
    ) -> tuple[PyTree, jax.Array]:
        """Act in a slice of the environments: return actions and log-probabilities.

        `acting` are the first five arguments of the `Actor`, the others its last ones.
        """
        if not self._actor.remembers:
            return self._actor(*acting)[:2]
        memory = self._pieces.get(envs.start)
        if memory is None:
            memory = jax.tree.map(lambda leaf: leaf[envs], self._start)
        given: Any = (*acting, memory, begins, critic_params)
        action, log_prob, after = self._actor(*given)
        self._pieces[envs.start] = after
        return action, log_prob

    def after(self, begins: Any) -> Memory:
        """Return the memory of all environments, anew where an episode begins."""
        if not self._actor.remembers:
            return self._start
        pieces = [self._pieces[start] for start in sorted(self._pieces)]
        memory = jax.tree.map(lambda *x: jnp.concatenate(x), *pieces)
        return self._actor.begin_where(memory, begins)


@functools.partial(jax.jit, static_argnames=("num_steps", "num_envs"))
def step_keys(
    key: jax.Array, first: int | jax.Array, *, num_steps: int, num_envs: int
) -> jax.Array:
    """Return the `jax.random.key_data` `[T, B, W]` of T steps from the time `first` on.

    A key follows from the time and the environment's index, so that the numbers drawn
    do not depend on how environments are divided among simulators. `key` is not
    consumed: later steps have other keys.
    """

    def one(t: jax.Array, i: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, t), i))

    at_one_time = jax.vmap(one, (None, 0))
    times = first + jnp.arange(num_steps)
    return jax.vmap(at_one_time, (0, None))(times, jnp.arange(num_envs))


def make_keys(key: jax.Array, num_envs: int) -> Callable[[int], np.ndarray]:
    """Return a function from the time to that step's keys `[B, W]`, made in blocks."""

    @functools.lru_cache(2)
    def block(number: int) -> np.ndarray:
        first = np.int32(number * _BLOCK)
        return np.asarray(step_keys(key, first, num_steps=_BLOCK, num_envs=num_envs))

    return lambda t: block(t // _BLOCK)[t % _BLOCK]


def act_once(state: TrainState, actor: Actor) -> tuple[PyTree, jax.Array]:
    """Call the policy as the host loop does, to compile it or to learn its shapes.

    It returns actions `[B, ...]` and log-probabilities `[B]`.
    """
    num_envs = len(jax.tree.leaves(state.observation)[0])
    keys = step_keys(state.key, 0, num_steps=1, num_envs=num_envs)[0]
    acting = state.policy_params, state.normalizer, keys, np.False_, state.observation
    memory = HostMemory(actor, state.memory)
    begins = np.zeros(num_envs, bool)
    return memory.act(slice(0, num_envs), acting, begins, state.critic_params)

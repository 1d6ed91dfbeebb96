"""The compiled policy that a loop on the host calls, and the keys it samples with."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.acting import act
from trpo_jax.agent.distributions import sample_rows
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.state import TrainState

PyTree = Any
Actor = Callable[..., tuple[PyTree, jax.Array]]

_BLOCK = 128  # steps whose keys are made at once


def make_actor(agent: Agent) -> Actor:
    """Compile the policy that a host loop calls at every step.

    `actor(policy_params, normalizer, keys, greedy, observation)` returns a pytree of
    actions `[B, ...]` and their log-probabilities `[B]`; the keys are from `step_keys`.
    """

    @jax.jit
    def actor(
        policy_params: PyTree,
        normalizer: PyTree,
        keys: jax.Array,
        greedy: jax.Array,
        observation: PyTree,
    ) -> tuple[PyTree, jax.Array]:
        policy = act(agent, policy_params, normalizer, observation)
        # Without the barrier XLA on CPU fuses the last layer into everything that
        # follows and computes it each time, which takes three times as long.
        policy = jax.lax.optimization_barrier(policy)
        sample = sample_rows(policy, jax.random.wrap_key_data(keys))
        action = jax.tree.map(
            lambda mode, sample: jnp.where(greedy, mode, sample), policy.mode(), sample
        )
        return action, policy.log_prob(action)

    return actor


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
    params, normalizer = state.policy_params, state.normalizer
    return actor(params, normalizer, keys, np.False_, state.observation)

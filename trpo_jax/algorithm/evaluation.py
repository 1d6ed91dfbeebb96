"""Evaluating a policy on whole episodes, in environments of their own."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.agent.acting import act
from trpo_jax.agent.distributions import sample_rows
from trpo_jax.agent.memory import first_memory
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import Normalizer
from trpo_jax.algorithm.keys import typed_key
from trpo_jax.environments.base import Environment, take_step

PyTree = Any

STEP_LIMIT = 10_000  # for environments without a time limit of their own


class Evaluation(NamedTuple):
    """The outcome of `E` episodes.

    Attributes:
        episode_return: `[E]`, the undiscounted sum of the rewards, summed without the
            rounding errors that add up over long episodes.
        episode_length: `[E]` int32, the number of actions.
        finished: `[E]` bool; False where an episode was stopped at the step limit: that
            of the environment, or 10,000 steps if it has none.
    """

    episode_return: jax.Array
    episode_length: jax.Array
    finished: jax.Array


def evaluate(
    key: jax.Array,
    environment: Environment,
    agent: Agent,
    policy_params: PyTree,
    normalizer: Normalizer,
    *,
    episodes: int = 100,
    greedy: bool | jax.Array = True,
) -> Evaluation:
    """Play whole episodes, all at once, each exactly once.

    Every episode counts, short or long: none is started again while longer ones are
    still under way, which would favour short ones.

    Args:
        key: consumed.
        environment: a single environment.
        agent: its policy plays.
        policy_params: parameters of the policy.
        normalizer: the normaliser of the training run.
        episodes: static, E.
        greedy: take the mode of the distribution instead of a sample; may be traced.

    Returns:
        An `Evaluation`, arrays `[E]`.

    Example:
        >>> from trpo_jax import train
        >>> trained = train("probe:action", total_steps=2048, progress=False)
        >>> first = jax.tree.map(lambda leaf: leaf[0], trained.state)
        >>> evaluate(jax.random.key(0), trained.environment, trained.agent,
        ...          first.policy_params, first.normalizer, episodes=3).episode_return
        Array([1., 1., 1.], dtype=float32)
    """
    limit = min(environment.max_episode_steps or STEP_LIMIT, 2**31 - 1)
    reset_key, key = jax.random.split(typed_key(key))
    env_state, observation = jax.vmap(environment.reset)(
        jax.random.split(reset_key, episodes)
    )

    def unfinished(carry: Any) -> jax.Array:
        t, *_, result = carry
        return (t < limit) & ~jnp.all(result.finished)

    def step(carry: Any) -> Any:
        t, env_state, observation, memory, error, result = carry
        keys = jax.random.split(jax.random.fold_in(key, t), (episodes, 2))
        policy, memory = act(agent, policy_params, normalizer, observation, memory)
        sample = sample_rows(policy, keys[:, 0])
        action = jax.tree.map(
            lambda mode, sample: jnp.where(greedy, mode, sample), policy.mode(), sample
        )
        step_all = jax.vmap(functools.partial(take_step, environment))
        after = step_all(keys[:, 1], env_state, action)
        playing = ~result.finished
        total, error = _add(
            result.episode_return, error, jnp.where(playing, after.reward, 0)
        )
        result = Evaluation(
            episode_return=total,
            episode_length=result.episode_length + playing.astype(jnp.int32),
            finished=result.finished | after.terminated | after.truncated,
        )
        return t + 1, after.env_state, after.observation, memory, error, result

    memory = first_memory(agent.policy, episodes)
    zero = jnp.zeros(episodes, jnp.float32)
    start = Evaluation(
        episode_return=zero,
        episode_length=jnp.zeros(episodes, jnp.int32),
        finished=jnp.zeros(episodes, bool),
    )
    *_, result = jax.lax.while_loop(
        unfinished, step, (jnp.int32(0), env_state, observation, memory, zero, start)
    )
    return result


def _add(
    total: jax.Array, error: jax.Array, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return total + x, and by how much it is too large (Kahan 1965).

    `error` is by how much `total` is too large itself.
    """
    x = x - error
    new = total + x
    error = (new - total) - x
    return new, jnp.where(jnp.isfinite(error), error, 0)

"""Single-path data collection: every environment follows one trajectory.

Shapes: `T` time steps lead, then `B` environments.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.agent.acting import act_and_remember, begin_where, policy_along
from trpo_jax.agent.distributions import sample_rows
from trpo_jax.agent.memory import Memory
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import first_statistics
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.stepping import due_truncations, env_keys, step_and_reset
from trpo_jax.environments.base import Environment
from trpo_jax.validation import COUNT, check

PyTree = Any

# What a step changes in the state; nothing else is carried from step to step.
_EPISODES = "env_state", "observation", "episode_return", "episode_length", "memory"


class Rollout(struct.PyTreeNode):
    """Transitions as the environment gave them: nothing normalised, nothing scaled.

    Attributes:
        observation: pytree of `[T, B, ...]`, acted on.
        action: pytree of `[T, B, ...]`, as sampled from the policy.
        log_prob: `[T, B]`, log-probability under the policy that acted.
        reward: `[T, B]`.
        next_observation: pytree of `[T, B, ...]`, where the action led; at the end of
            an episode its final observation, never the one after the reset.
        terminated: `[T, B]` bool.
        truncated: `[T, B]` bool.
        weight: `[T, B]`, 1 for a transition, 0 for a row to ignore everywhere.
        episode_return: `[T, B]`, sum of the episode's rewards, including this step's.
        episode_length: `[T, B]` int32, the episode's steps so far, including this one.
        policy_version: int32 scalar, `TrainState.iteration` of the policy that acted.
        memory: `Memory` `[B, ...]` of policy and critic before the first step.
        first: `[T, B]` bool, whether an episode begins with this step, so that the
            memory is to be replaced; None for agents without a memory.
    """

    observation: PyTree
    action: PyTree
    log_prob: jax.Array
    reward: jax.Array
    next_observation: PyTree
    terminated: jax.Array
    truncated: jax.Array
    weight: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array
    policy_version: jax.Array
    memory: Memory = Memory()
    first: jax.Array | None = None

    @property
    def statistics_inputs(self) -> tuple[PyTree, jax.Array, jax.Array, jax.Array]:
        """What `update_normalizer` takes: observation, reward, ended, and weight."""
        ended = self.terminated | self.truncated
        return self.observation, self.reward, ended, self.weight


def collect(
    state: TrainState,
    environment: Environment,
    agent: Agent,
    *,
    num_steps: int,
    stagger_starts: bool = False,
    time_limit: int = 0,
) -> tuple[TrainState, Rollout]:
    """Follow the policy for `num_steps` steps in every environment.

    Each environment has its own keys at every step. Episodes continue from where the
    last call left them; when one ends, the next begins within the same step. A
    normaliser that has seen nothing yet takes the statistics of this rollout, so that
    the first update does not depend on units, see `first_statistics`.

    Args:
        state: its policy and normaliser act.
        environment: a single environment.
        agent: its policy acts.
        num_steps: static, T.
        stagger_starts: static; truncate the first episode of each environment at a
            different time, see `due_truncations`. Collect once for each update then.
        time_limit: static; the longest episode in steps; 0 keeps the environment's own.

    Returns:
        The state with the environments moved on, and a `Rollout`.

    Raises:
        ValueError: when `num_steps` is not a whole number ≥ 1.

    Example:
        >>> from trpo_jax import Config, init, make_environment, default_agent
        >>> environment = make_environment("CartPole-v1")
        >>> spaces = environment.observation_space, environment.action_space
        >>> agent = default_agent(*spaces)
        >>> def run(key):
        ...     state = init(key, environment, agent, Config(num_envs=8))
        ...     return collect(state, environment, agent, num_steps=5)
        >>> _, rollout = jax.eval_shape(run, jax.random.key(0))
        >>> rollout.observation.shape, rollout.reward.shape
        ((5, 8, 4), (5, 8))
    """
    return follow_policy(
        state,
        environment,
        agent,
        num_steps=num_steps,
        stagger_starts=stagger_starts,
        time_limit=time_limit,
    )[:2]


def follow_policy(
    state: TrainState,
    environment: Environment,
    agent: Agent,
    *,
    num_steps: int,
    stagger_starts: bool = False,
    time_limit: int = 0,
    on_step: Callable[[PyTree, jax.Array, TrainState], PyTree] | None = None,
    carry: PyTree = None,
) -> tuple[TrainState, Rollout, PyTree]:
    """Do the work of `collect`, and show every state to a hook before it is acted in.

    Before step t, `on_step(carry, t, state)` returns the next carry, which may be any
    pytree; the last carry is returned in addition to what `collect` returns. The other
    arguments are those of `collect`.
    """
    check("num_steps", num_steps, COUNT)
    batch = state.episode_return.shape[0]
    next_key, key = jax.random.split(state.key)
    keys = env_keys(key, state.env_index, (num_steps, 3))
    truncate_now = functools.partial(
        due_truncations,
        iteration=state.iteration,
        num_steps=num_steps,
        stagger_starts=stagger_starts,
        time_limit=time_limit,
        max_episode_steps=environment.max_episode_steps,
    )

    def step(carried: Any, now: Any) -> tuple[Any, dict[str, Any]]:
        (episodes, carry), (t, keys) = carried, now
        current = state.replace(**episodes)
        if on_step is not None:
            carry = on_step(carry, t, current)
        truncate = truncate_now(t, current.episode_length)
        episodes, transition = _step(current, keys, agent, environment, truncate)
        return (episodes, carry), transition

    start = {name: getattr(state, name) for name in _EPISODES}
    (episodes, carry), transitions = jax.lax.scan(
        step, (start, carry), (jnp.arange(num_steps), keys)
    )
    ended, first = transitions["terminated"] | transitions["truncated"], None
    if agent.remembers:  # before row 0, the memory has begun anew where it has to
        first = jnp.pad(ended[:-1], ((1, 0), (0, 0)))
    past = state.memory, first
    policy = policy_along(agent, state, transitions["observation"], *past)
    log_prob = policy.log_prob(transitions["action"])
    weight = jnp.ones((num_steps, batch), jnp.float32)
    rollout = Rollout(
        **transitions, log_prob=log_prob, weight=weight,
        policy_version=state.iteration, memory=state.memory, first=first,
    )  # fmt: skip
    normalizer = first_statistics(state.normalizer, *rollout.statistics_inputs)
    state = state.replace(**episodes, key=next_key, normalizer=normalizer)
    return state, rollout, carry


def _step(
    state: TrainState,
    keys: jax.Array,
    agent: Agent,
    environment: Environment,
    truncate: jax.Array | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state's new `_EPISODES` and the transition; the keys are `[3, B]`."""
    policy, memory = act_and_remember(agent, state, state.observation, state.memory)
    action = sample_rows(policy, keys[0])
    env_state, observation, step = step_and_reset(
        environment, keys[1], keys[2], state.env_state, action, truncate
    )
    ended = step.terminated | step.truncated
    totals = {
        "episode_return": state.episode_return + step.reward,
        "episode_length": state.episode_length + 1,
    }
    following = jax.tree.map(lambda total: jnp.where(ended, 0, total), totals)
    transition = {
        "observation": state.observation,
        "action": action,
        "reward": step.reward,
        "next_observation": step.observation,
        "terminated": step.terminated,
        "truncated": step.truncated,
    }
    following |= {"env_state": env_state, "observation": observation}
    following["memory"] = begin_where(agent, memory, ended)
    return following, transition | totals

"""What an agent does with observations: distributions and values, memory included.

Shapes: `B` environments lead, or any axes where a function says so; `N` rows.
"""

from typing import Any

import jax

from trpo_jax.agent.memory import (
    Memory,
    Sequences,
    first_memory,
    replay,
    restart,
    step_once,
)
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import Normalizer, normalize_observation
from trpo_jax.solver.precision import widen

PyTree = Any


def act(
    agent: Agent,
    policy_params: PyTree,
    normalizer: Normalizer,
    observation: PyTree,
    memory: PyTree = None,
) -> Any:
    """Return the policy's distribution of actions for raw observations.

    Args:
        agent: its policy is applied.
        policy_params: parameters of the policy.
        normalizer: normalises the observations.
        observation: pytree with any leading axes, in units of the environment.
        memory: the policy's memory, with the same leading axes, such as
            `state.memory.policy`; policies that have one need it.

    Returns:
        A distribution with the leading axes of the observations; if a memory is given,
        the distribution and the next memory.

    Raises:
        ValueError: when the policy has a memory, and none is given.

    Example:
        ::

            policy = act(agent, state.policy_params, state.normalizer, observation)
            action = policy.sample(key)
    """
    if memory is None and agent.policy.initial_memory is not None:
        raise ValueError(
            "this policy has a memory: pass it, and keep what is returned with the "
            "distribution for the next step"
        )
    observation = normalize_observation(normalizer, observation)
    policy, after = step_once(agent.policy, policy_params, observation, memory)
    return widen(policy) if memory is None else (widen(policy), after)


def predict_value(
    agent: Agent, state: Any, observation: PyTree, memory: PyTree = ()
) -> tuple[jax.Array, PyTree]:
    """Return the critic's values of raw observations, and its memory after them.

    The values, in units of the scaled reward, have the leading axes of the observations
    and of the critic's memory, whatever those are. The state is a `TrainState`, of
    which the parameters and the normaliser are used.
    """
    observation = normalize_observation(state.normalizer, observation)
    params = critic_params_of(agent, state)
    value, after = step_once(agent.critic, params, observation, memory)
    return widen(value), after


def critic_params_of(agent: Agent, state: Any) -> PyTree:
    """Return the parameters of the critic: the policy's if both are one network."""
    return state.critic_params if agent.heads is None else state.policy_params


def critic_memory_of(agent: Agent, memory: Memory) -> PyTree:
    """Return the critic's memory: the policy's if both are one network."""
    return memory.critic if agent.heads is None else memory.policy


def act_and_remember(
    agent: Agent, state: Any, observation: PyTree, memory: Memory
) -> tuple[Any, Memory]:
    """Return the distribution of actions, and the memory of policy and critic after it.

    The critic is only applied if it has a memory of its own. See `predict_value`.
    """
    params = state.policy_params, state.normalizer
    policy, acted = act(agent, *params, observation, memory.policy)
    valued = memory.critic
    if jax.tree.leaves(valued):
        _, valued = predict_value(agent, state, observation, memory.critic)
    return policy, Memory(acted, valued)


def policy_along(
    agent: Agent,
    state: Any,
    observation: PyTree,
    memory: Memory,
    first: jax.Array | None,
) -> Any:
    """Return the distribution of actions `[T, B]` along a rollout.

    The observations are `[T, B, ...]`; memory and `first` are those of a `Rollout`. See
    `predict_value` on the state.
    """
    observation = normalize_observation(state.normalizer, observation)
    inputs = observation, memory.policy, first
    return widen(replay(agent.policy, state.policy_params, *inputs)[0])


def values_along(
    agent: Agent,
    state: Any,
    observation: PyTree,
    memory: Memory,
    first: jax.Array | None,
) -> tuple[Any, PyTree]:
    """Return the critic's values along a rollout, and its memory after each row.

    Both are `[T, B]`; the memory is empty for critics without one. See `policy_along`.
    """
    observation = normalize_observation(state.normalizer, observation)
    inputs = observation, critic_memory_of(agent, memory), first
    value, after = replay(agent.critic, critic_params_of(agent, state), *inputs)
    return widen(value), after


def policy_of_rows(agent: Agent, policy_params: PyTree, observation: PyTree) -> Any:
    """Return the distribution of all rows `[N, ...]` of an update.

    The observations are normalised: `[N, ...]`, or `Sequences` of N rows altogether.
    """
    return _of_rows(agent.policy, policy_params, observation)


def heads_of_rows(agent: Agent, params: PyTree, observation: PyTree) -> Any:
    """Return the `Heads` of all rows `[N, ...]` of an update, see `policy_of_rows`."""
    return _of_rows(agent.heads, params, observation)


def _of_rows(network: Any, params: PyTree, observation: PyTree) -> Any:
    if not isinstance(observation, Sequences):
        return widen(network.apply(params, observation))
    output = observation.through(network, params, observation.memory.policy)
    return widen(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), output))


def value_of_rows(agent: Agent, critic_params: PyTree, observation: PyTree) -> Any:
    """Return the critic's values of the rows of an update.

    They are `[N]` for normalised observations `[N, ...]`, and `[B, T]` for `Sequences`.
    """
    if not isinstance(observation, Sequences):
        return agent.critic.apply(critic_params, observation)
    memory = observation.memory.critic
    return observation.through(agent.critic, critic_params, memory)


def begin_episodes(agent: Agent, batch: int) -> Memory:
    """Return the memory `[B, ...]` of an agent whose episodes all begin."""
    own = agent.heads is None
    return Memory(
        policy=first_memory(agent.policy, batch),
        critic=first_memory(agent.critic, batch) if own else (),
    )


def begin_where(agent: Agent, memory: Memory, ended: jax.Array) -> Memory:
    """Return the memory `[B, ...]`, that of a new episode where one has ended."""
    networks = agent.policy, agent.critic
    return Memory(*(restart(*each, ended) for each in zip(networks, memory)))

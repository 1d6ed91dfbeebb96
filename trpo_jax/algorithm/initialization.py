"""The state before the first iteration."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from trpo_jax.agent.acting import begin_episodes
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import init_normalizer, normalized_leaves
from trpo_jax.algorithm.keys import typed_key
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.stepping import env_keys
from trpo_jax.config import Config
from trpo_jax.environments.base import Environment, strong
from trpo_jax.environments.spaces import Space
from trpo_jax.solver.precision import widen

PyTree = Any


def init(
    key: jax.Array, environment: Environment, agent: Agent, config: Config
) -> TrainState:
    """Return the state before the first iteration.

    Args:
        key: consumed; all randomness of the run follows from it. Keys of the old kind
            (`jax.random.PRNGKey`) give the same numbers as new ones.
        environment: a single environment, reset `config.num_envs` times.
        agent: its networks are initialised.
        config: the hyper-parameters.

    Returns:
        A `TrainState`. Every leaf is an array of its own, even if the environment or
        the agent returned one array twice, so that the state can be donated.

    Raises:
        ValueError: when `key` is not a key.

    Example:
        >>> from trpo_jax import make_environment, default_agent
        >>> environment = make_environment("CartPole-v1")
        >>> spaces = environment.observation_space, environment.action_space
        >>> agent = default_agent(*spaces)
        >>> make = lambda key: init(key, environment, agent, Config(num_envs=8))
        >>> jax.eval_shape(make, jax.random.key(0)).observation.shape
        (8, 4)
    """
    env_key, *keys = jax.random.split(typed_key(key), 4)
    env_index = jnp.arange(config.num_envs, dtype=jnp.int32)
    env_state, observation = jax.vmap(environment.reset)(env_keys(env_key, env_index))
    return first_state(
        keys, env_state, observation, environment.observation_space, agent, config
    )


def first_state(
    keys: Sequence[jax.Array],
    env_state: PyTree,
    observation: PyTree,
    observation_space: Space,
    agent: Agent,
    config: Config,
) -> TrainState:
    """Return the state of a run whose environments have just been reset.

    The three keys are for the policy, for the critic, and for everything that follows.
    `env_state` and `observation` are pytrees of `[B, ...]`; `env_state` is empty when
    the simulator keeps its state. `normalized_leaves` says what is normalised.
    """
    policy_key, critic_key, key = keys
    one = jax.tree.map(lambda leaf: leaf[0], observation)
    critic_params = agent.critic.init(critic_key, one)
    state = TrainState(
        policy_params=agent.policy.init(policy_key, one),
        critic_params=critic_params,
        critic_optimizer_state=(
            optax.flatten(agent.critic_optimizer).init(widen(critic_params))
            if jax.tree.leaves(critic_params)
            else ()
        ),
        normalizer=init_normalizer(
            observation,
            with_observation=config.normalize_observation
            and normalized_leaves(observation_space),
            with_reward=config.scale_reward,
            discount=config.discount,
        ),
        env_state=env_state,
        observation=observation,
        episode_return=jnp.zeros(config.num_envs, jnp.float32),
        episode_length=jnp.zeros(config.num_envs, jnp.int32),
        env_index=jnp.arange(config.num_envs, dtype=jnp.int32),
        memory=begin_episodes(agent, config.num_envs),
        key=key,
        iteration=jnp.int32(0),
    )
    return jax.tree.map(lambda leaf: strong(jnp.array(leaf)), state)  # copied

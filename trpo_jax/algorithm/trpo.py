"""Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477).

Maximise E[π_θ(a|s)/π_old(a|s) Â] subject to E_s[KL(π_old(·|s) ‖ π_θ(·|s))] ≤ δ.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import init_normalizer
from trpo_jax.algorithm.critic import init_critic_optimizer
from trpo_jax.algorithm.metrics import Metrics, summarize
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.update import CRITIC_OPTIMIZER, absorb_statistics, update
from trpo_jax.algorithm.vine import collect_vine
from trpo_jax.config import Config
from trpo_jax.environments.base import Environment
from trpo_jax.environments.spaces import Box, Space

PyTree = Any


def _register_config() -> None:
    """Make `Config` a pytree, without the checks that only its constructor makes."""
    fields = dataclasses.fields(Config)
    leaves = [field.name for field in fields if field.metadata["leaf"]]
    static = [field.name for field in fields if not field.metadata["leaf"]]

    def flatten(config: Config) -> tuple:
        children = [(jax.tree_util.GetAttrKey(k), getattr(config, k)) for k in leaves]
        return children, tuple(getattr(config, name) for name in static)

    def unflatten(structure: tuple, children: tuple) -> Config:
        config = object.__new__(Config)
        for name, value in (*zip(leaves, children), *zip(static, structure)):
            object.__setattr__(config, name, value)
        return config

    jax.tree_util.register_pytree_with_keys(Config, flatten, unflatten)


_register_config()


def init(
    key: jax.Array, environment: Environment, agent: Agent, config: Config
) -> TrainState:
    """Return the state before the first iteration.

    Args:
        key: consumed; everything random that ever happens follows from it.
        environment: a single environment, reset `config.num_envs` times.
        agent: its networks are initialised.
        config: of the run.

    Returns:
        A `TrainState`.

    Example:
        >>> from trpo_jax import make_environment, mlp_agent
        >>> environment = make_environment("CartPole-v1")
        >>> agent = mlp_agent(environment.observation_space, environment.action_space)
        >>> make = lambda key: init(key, environment, agent, Config(num_envs=8))
        >>> jax.eval_shape(make, jax.random.key(0)).observation.shape
        (8, 4)
    """
    env_key, *keys = jax.random.split(key, 4)
    env_state, observation = jax.vmap(environment.reset)(
        jax.random.split(env_key, config.num_envs)
    )
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

    Args:
        keys: three, for the policy, for the critic, and for all that follows.
        env_state: pytree of `[B, ...]`; empty when the simulator keeps its state.
        observation: pytree of `[B, ...]`.
        observation_space: numbers in a `Box` are normalised, integers are not.
        agent: its networks are initialised.
        config: of the run.
    """
    policy_key, critic_key, key = keys
    one = jax.tree.map(lambda leaf: leaf[0], observation)
    critic_params = agent.critic.init(critic_key, one)
    return TrainState(
        policy_params=agent.policy.init(policy_key, one),
        critic_params=critic_params,
        critic_optimizer_state=init_critic_optimizer(CRITIC_OPTIMIZER, critic_params),
        normalizer=init_normalizer(
            observation,
            with_observation=config.normalize_observation
            and isinstance(observation_space, Box),
            with_reward=config.scale_reward,
        ),
        env_state=env_state,
        observation=observation,
        episode_return=jnp.zeros(config.num_envs),
        episode_length=jnp.zeros(config.num_envs, jnp.int32),
        key=key,
        iteration=jnp.int32(0),
    )


def train_step(
    state: TrainState, environment: Environment, agent: Agent, config: Config
) -> tuple[TrainState, Metrics]:
    """Run one iteration: collect a batch, improve the policy, fit the critic.

    By single paths or by the vine, see `config.sampling`.

    Args:
        state: as from `init` or an earlier iteration.
        environment: a single environment.
        agent: policy and critic.
        config: of the run.

    Returns:
        The next state, and `Metrics`.

    Example:
        >>> from trpo_jax import make_environment, mlp_agent
        >>> environment = make_environment("probe:policy")
        >>> agent = mlp_agent(environment.observation_space, environment.action_space)
        >>> config = Config(num_envs=4, num_steps=16)
        >>> state = init(jax.random.key(0), environment, agent, config)
        >>> state, metrics = train_step(state, environment, agent, config)
        >>> int(state.iteration), bool(metrics.kl <= config.max_kl)
        (1, True)
    """
    if config.sampling == "vine":
        state, rollout, batch = collect_vine(state, environment, agent, config)
        state, info = update(state, batch, agent, config)
        state = absorb_statistics(state, rollout, config)
        return state, summarize(rollout, info)
    state, rollout = collect(
        state,
        environment,
        agent,
        num_steps=config.num_steps,
        stagger_starts=config.stagger_starts,
        time_limit=config.training_time_limit,
    )
    state, info = update(state, rollout, agent, config)
    return state, summarize(rollout, info)

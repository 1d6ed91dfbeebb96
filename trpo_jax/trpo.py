"""Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477).

Maximise E[π_θ(a|s)/π_old(a|s) Â] subject to E_s[KL(π_old(·|s) ‖ π_θ(·|s))] ≤ δ.

Symbols: θ policy parameters, Â advantages, δ `max_kl`, F Fisher matrix, g gradient.
Shapes: `T` time steps, `B` environments, `N` = T·B rows.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from trpo_jax.advantages import advantages
from trpo_jax.config import Config
from trpo_jax.critic import fit_critic, init_critic_optimizer
from trpo_jax.environments.base import Environment
from trpo_jax.environments.spaces import Box
from trpo_jax.metrics import Metrics, UpdateInfo, summarize
from trpo_jax.networks import Agent
from trpo_jax.normalization import (
    init_normalizer,
    normalize_observation,
    scale_reward,
    update_normalizer,
)
from trpo_jax.rollout import Batch, Rollout, collect
from trpo_jax.rows import weighted_mean
from trpo_jax.state import TrainState
from trpo_jax.trust_region import improve_policy

PyTree = Any

CRITIC_OPTIMIZER = optax.scale_by_adam()


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
    env_key, policy_key, critic_key, key = jax.random.split(key, 4)
    env_state, observation = jax.vmap(environment.reset)(
        jax.random.split(env_key, config.num_envs)
    )
    one = jax.tree.map(lambda leaf: leaf[0], observation)
    critic_params = agent.critic.init(critic_key, one)
    return TrainState(
        policy_params=agent.policy.init(policy_key, one),
        critic_params=critic_params,
        critic_optimizer_state=init_critic_optimizer(CRITIC_OPTIMIZER, critic_params),
        normalizer=init_normalizer(
            observation,
            with_observation=config.normalize_observation
            and isinstance(environment.observation_space, Box),
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
    state, rollout = collect(state, environment, agent, num_steps=config.num_steps)
    state, info = update(state, rollout, agent, config)
    return state, summarize(rollout, info)


def estimate_advantages(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> Batch:
    """Turn transitions into a `Batch`: value, scale rewards, apply `advantages`.

    Rows of weight 0 are ignored whatever they hold, NaN included: the recursion is cut
    at them, and they come out as zeros.

    Args:
        state: its critic and normaliser are used.
        rollout: leading axes `[T, B]`.
        agent: its critic gives the values.
        config: discount and λ.

    Returns:
        A `Batch`; advantages and targets in units of the scaled reward.

    Raises:
        ValueError: when the critic's values do not have the shape of the rewards.

    Example:
        What follows can change the batch before `update` learns from it::

            state, rollout = collect(state, environment, agent, num_steps=128)
            batch = estimate_advantages(state, rollout, agent, config)
            bonus = my_novelty(batch.observation)
            batch = batch.replace(advantage=batch.advantage + bonus)
            state, info = update(state, batch, agent, config)
    """
    valid = rollout.weight > 0
    rollout = rollout.replace(
        reward=jnp.where(valid, rollout.reward, 0),
        observation=_keep(valid, rollout.observation),
        next_observation=_keep(valid, rollout.next_observation),
        terminated=rollout.terminated | ~valid,
    )

    def value(observation: PyTree) -> jax.Array:
        observation = normalize_observation(state.normalizer, observation)
        return agent.critic.apply(state.critic_params, observation)

    advantage, value_target = advantages(
        scale_reward(state.normalizer, rollout.reward),
        jnp.where(valid, value(rollout.observation), 0),
        value(rollout.next_observation),
        rollout.terminated,
        rollout.truncated,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
    )
    return Batch(
        observation=rollout.observation,
        action=rollout.action,
        advantage=advantage,
        value_target=value_target,
        weight=rollout.weight,
    )


def update(
    state: TrainState, rollout: Rollout | Batch, agent: Agent, config: Config
) -> tuple[TrainState, UpdateInfo]:
    """Improve the policy within the trust region, then fit the critic.

    Nothing that is not finite is ever written into the state: a policy step that fails
    leaves the policy bit for bit as it was, a fit that fails the critic, and rows that
    are not finite never reach the normaliser.

    Args:
        state: its normaliser and critic are those that acted.
        rollout: transitions, whose advantages are then estimated by the critic, or a
            finished `Batch`.
        agent: policy and critic.
        config: of the run.

    Returns:
        The next state, and an `UpdateInfo`.

    Raises:
        ValueError: when the critic's values do not have the shape of the rewards.

    Example:
        >>> from trpo_jax import collect, make_environment, mlp_agent
        >>> environment = make_environment("probe:policy")
        >>> agent = mlp_agent(environment.observation_space, environment.action_space)
        >>> config = Config(num_envs=4)
        >>> state = init(jax.random.key(0), environment, agent, config)
        >>> state, rollout = collect(state, environment, agent, num_steps=16)
        >>> state, info = update(state, rollout, agent, config)
        >>> bool(info.policy.kl <= config.max_kl)
        True
    """
    batch = rollout
    if isinstance(rollout, Rollout):
        batch = estimate_advantages(state, rollout, agent, config)
    rows = _keep(batch.weight > 0, batch)  # zeros where a NaN could get into a gradient
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
    observation = normalize_observation(state.normalizer, rows.observation)
    key, fisher_key, critic_key = jax.random.split(state.key, 3)

    old = agent.policy.apply(state.policy_params, observation)
    policy_params, policy_info = improve_policy(
        fisher_key,
        agent.policy.apply,
        state.policy_params,
        rows.replace(observation=observation),
        config,
    )
    critic_params, critic_optimizer_state, critic_info = fit_critic(
        critic_key,
        agent.critic.apply,
        state.critic_params,
        CRITIC_OPTIMIZER,
        state.critic_optimizer_state,
        observation,
        rows.value_target,
        rows.weight,
        learning_rate=config.critic_learning_rate,
        epochs=config.critic_epochs,
        minibatch_size=config.critic_minibatch_size,
    )
    normalizer = state.normalizer
    if isinstance(rollout, Rollout):
        normalizer = update_normalizer(
            normalizer,
            rollout.observation,
            rollout.reward,
            rollout.terminated | rollout.truncated,
            rollout.weight,
            discount=config.discount,
        )
    state = state.replace(
        policy_params=policy_params,
        critic_params=critic_params,
        critic_optimizer_state=critic_optimizer_state,
        normalizer=normalizer,
        key=key,
        iteration=state.iteration + 1,
    )
    return state, UpdateInfo(
        policy=policy_info,
        critic=critic_info,
        entropy=weighted_mean(old.entropy(), rows.weight),
    )


def _keep(valid: jax.Array, rows: PyTree) -> PyTree:
    """Return rows `[T, B, ...]` with zeros where they are not valid."""

    def keep(leaf: jax.Array) -> jax.Array:
        wide = jax.lax.expand_dims(valid, range(valid.ndim, leaf.ndim))
        return jnp.where(wide, leaf, jnp.zeros_like(leaf))

    return jax.tree.map(keep, rows)

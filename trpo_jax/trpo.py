"""Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477).

Maximise E[π_θ(a|s)/π_old(a|s) Â] subject to E_s[KL(π_old(·|s) ‖ π_θ(·|s))] ≤ δ.

Symbols: θ policy parameters, Â advantages, δ `max_kl`, F Fisher matrix, g gradient.
Shapes: `T` time steps, `B` environments, `N` = T·B rows.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from trpo_jax.advantages import advantages, standardize
from trpo_jax.config import Config
from trpo_jax.conjugate_gradient import CGInfo, cg_solve
from trpo_jax.critic import (
    CriticInfo,
    all_finite,
    fit_critic,
    init_critic_optimizer,
)
from trpo_jax.environments.base import Environment
from trpo_jax.environments.spaces import Box
from trpo_jax.fisher import fisher_vector_product, subsample_rows
from trpo_jax.line_search import LineSearchInfo, line_search
from trpo_jax.networks import Agent
from trpo_jax.normalization import (
    init_normalizer,
    normalize_observation,
    scale_reward,
    update_normalizer,
)
from trpo_jax.rollout import Rollout, collect
from trpo_jax.state import TrainState

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


class Status(enum.IntEnum):
    """How the policy's step ended; the order is the order of precedence."""

    ACCEPTED = 0
    NON_FINITE = 1
    ZERO_GRADIENT = 2
    BAD_CURVATURE = 3
    SEARCH_FAILED = 4


class PolicyInfo(NamedTuple):
    """What happened to the policy; scalars, and the infos of the parts.

    Attributes:
        status: int32, a `Status`.
        kl: divergence of the step taken, nats; 0 when none was.
        gradient_norm: ‖g‖ of the surrogate at θ_old.
        cg: of the solve.
        search: of the line search.
    """

    status: jax.Array
    kl: jax.Array
    gradient_norm: jax.Array
    cg: CGInfo
    search: LineSearchInfo


class UpdateInfo(NamedTuple):
    """What happened in an update.

    Attributes:
        policy: a `PolicyInfo`.
        critic: a `CriticInfo`.
        entropy: scalar, mean entropy of π_old in nats.
    """

    policy: PolicyInfo
    critic: CriticInfo
    entropy: jax.Array


class Metrics(NamedTuple):
    """One iteration in a few numbers, float32 scalars all.

    Attributes:
        episodes: that ended in this iteration.
        episode_return: mean over those, NaN when there were none.
        episode_length: likewise.
        status: a `Status`.
        kl: nats, of the step taken.
        improvement: of the surrogate.
        backtracks: steps the line search refused.
        step_size: αʲ of the step taken, 0 when none was.
        entropy: nats, of the policy that acted.
        gradient_norm: of the surrogate.
        cg_iterations: products used.
        cg_residual: relative to the gradient.
        explained_variance: of the value targets, by the critic before its fit.
        critic_loss: mean squared error, in squared units of the scaled reward.
    """

    episodes: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array
    status: jax.Array
    kl: jax.Array
    improvement: jax.Array
    backtracks: jax.Array
    step_size: jax.Array
    entropy: jax.Array
    gradient_norm: jax.Array
    cg_iterations: jax.Array
    cg_residual: jax.Array
    explained_variance: jax.Array
    critic_loss: jax.Array


@struct.dataclass
class Batch:
    """What `update` learns from, however it was collected; leading axes `[T, B]`.

    Attributes:
        observation: pytree of `[T, B, ...]`, not normalised.
        action: pytree of `[T, B, ...]`.
        advantage: `[T, B]`.
        value_target: `[T, B]`.
        weight: `[T, B]` ≥ 0.
    """

    observation: PyTree
    action: PyTree
    advantage: jax.Array
    value_target: jax.Array
    weight: jax.Array


def init(
    key: jax.Array, environment: Environment, agent: Agent, config: Config
) -> TrainState:
    """Return the state before the first iteration.

    Args:
        key: consumed; everything random that ever happens follows from it.
        environment: a single environment, reset `config.num_envs` times.
        agent: its networks are initialised.
        config: of the run.
    """
    env_key, policy_key, critic_key, cut_key, key = jax.random.split(key, 5)
    env_state, observation = jax.vmap(environment.reset)(
        jax.random.split(env_key, config.num_envs)
    )
    one = jax.tree.map(lambda leaf: leaf[0], observation)
    critic_params = agent.critic.init(critic_key, one)
    cut_off_at = jnp.zeros(config.num_envs, jnp.int32)
    if config.stagger_starts and environment.max_episode_steps is not None:
        cut_off_at = jax.random.randint(
            cut_key, cut_off_at.shape, 1, environment.max_episode_steps + 1
        )
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
        cut_off_at=cut_off_at,
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
    """
    state, rollout = collect(state, environment, agent, num_steps=config.num_steps)
    state, info = update(state, rollout, agent, config)
    return state, summarize(rollout, info)


def estimate_advantages(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> Batch:
    """Turn transitions into a `Batch`: value, scale rewards, apply `advantages`."""

    def value(observation: PyTree) -> jax.Array:
        observation = normalize_observation(state.normalizer, observation)
        return agent.critic.apply(state.critic_params, observation)

    advantage, value_target = advantages(
        scale_reward(state.normalizer, rollout.reward),
        value(rollout.observation),
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
    """
    batch = rollout
    if isinstance(rollout, Rollout):
        batch = estimate_advantages(state, rollout, agent, config)
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
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
        entropy=_mean(old.entropy(), rows.weight),
    )


def improve_policy(
    key: jax.Array,
    apply: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    rows: Batch,
    config: Config,
) -> tuple[PyTree, PolicyInfo]:
    """Take one trust-region step on the sample surrogate E[π_θ/π_old Â].

    Args:
        key: consumed; chooses the rows of the Fisher products.
        apply: policy parameters and observations `[N, ...]` → distribution.
        params: θ_old.
        rows: a `Batch` with leading axis `[N]`, observations as the policy sees them.
        config: of the run.

    Returns:
        New parameters (bit for bit the old ones unless accepted), and a `PolicyInfo`.
    """
    old = apply(params, rows.observation)
    old_log_prob = old.log_prob(rows.action)
    advantage = rows.advantage
    if config.standardize_advantage:
        advantage = standardize(advantage, rows.weight)

    def surrogate(params: PyTree) -> jax.Array:
        log_prob = apply(params, rows.observation).log_prob(rows.action)
        ratio = jnp.exp(log_prob - old_log_prob)  # exactly 1 at θ_old
        return _mean(ratio * advantage, rows.weight)

    def divergence(params: PyTree) -> jax.Array:
        return _mean(old.kl(apply(params, rows.observation)), rows.weight)

    observation, weight = subsample_rows(
        key, (rows.observation, rows.weight), config.fisher_fraction
    )
    product = fisher_vector_product(
        lambda params: apply(params, observation),
        params,
        damping=config.cg_damping,
        weight=weight,
    )
    return trust_region_step(surrogate, divergence, product, params, config)


def trust_region_step(
    surrogate: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
    product: Callable[[PyTree], PyTree],
    params: PyTree,
    config: Config,
) -> tuple[PyTree, PolicyInfo]:
    """Maximise a surrogate within divergence ≤ δ by one natural-gradient step.

    x ≈ F⁻¹ g by conjugate gradients, full step √(2δ / xᵀF x) x, then backtracking
    (Schulman et al. 2015, §6 and appendix C). It knows neither rollouts nor networks.

    Args:
        surrogate: to be maximised, parameters → scalar.
        divergence: from the old policy, parameters → scalar.
        product: v ↦ F v at `params`.
        params: θ_old.
        config: of the run.

    Returns:
        New parameters (bit for bit the old ones unless accepted), and a `PolicyInfo`.
    """
    gradient = jax.grad(surrogate)(params)
    gradient_norm = optax.tree.norm(gradient)
    direction, cg_info = cg_solve(
        product,
        gradient,
        iterations=config.cg_iterations,
        tolerance=config.cg_tolerance,
    )
    curvature = cg_info.curvature
    solved = (curvature > 0) & jnp.isfinite(curvature) & all_finite(direction)
    scale = jnp.sqrt(
        2
        * jnp.asarray(config.max_kl, curvature.dtype)
        / jnp.where(solved, curvature, 1)
    )
    step = jax.tree.map(
        lambda x: jnp.where(solved, scale.astype(x.dtype) * x, 0), direction
    )
    params, search_info = line_search(
        surrogate,
        divergence,
        params,
        step,
        max_divergence=config.max_kl,
        shrink=config.backtrack_coefficient,
        max_steps=config.max_backtracks,
    )
    status = jnp.select(
        [
            search_info.accepted,
            ~jnp.isfinite(gradient_norm),
            gradient_norm == 0,
            ~solved,
        ],
        [
            Status.ACCEPTED,
            Status.NON_FINITE,
            Status.ZERO_GRADIENT,
            Status.BAD_CURVATURE,
        ],
        Status.SEARCH_FAILED,
    ).astype(jnp.int32)
    return params, PolicyInfo(
        status=status,
        kl=search_info.divergence,
        gradient_norm=gradient_norm,
        cg=cg_info,
        search=search_info,
    )


def summarize(rollout: Rollout, info: UpdateInfo) -> Metrics:
    """Reduce one iteration to its `Metrics`."""
    ended = (rollout.terminated | rollout.truncated) & (rollout.weight > 0)
    episodes = jnp.sum(ended)

    def mean_at_end(x: jax.Array) -> jax.Array:
        total = jnp.sum(jnp.where(ended, x, 0)).astype(jnp.float32)
        return total / episodes.astype(jnp.float32)

    metrics = Metrics(
        episodes=episodes,
        episode_return=mean_at_end(rollout.episode_return),
        episode_length=mean_at_end(rollout.episode_length),
        status=info.policy.status,
        kl=info.policy.kl,
        improvement=info.policy.search.improvement,
        backtracks=info.policy.search.backtracks,
        step_size=info.policy.search.step_size,
        entropy=info.entropy,
        gradient_norm=info.policy.gradient_norm,
        cg_iterations=info.policy.cg.iterations,
        cg_residual=info.policy.cg.residual,
        explained_variance=info.critic.explained_variance,
        critic_loss=info.critic.loss,
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), metrics)


def _mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(weight > 0, weight * x, 0)) / jnp.sum(weight)

"""The update: improve the policy within the trust region, then fit the critic.

Symbols: θ policy parameters, Â advantages, δ `max_kl`, F Fisher matrix, g gradient.
Shapes: `T` time steps, `B` environments, `N` = T·B rows.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation, update_normalizer
from trpo_jax.algorithm.advantages import advantages
from trpo_jax.algorithm.batch import Batch, VineBatch
from trpo_jax.algorithm.critic import CriticInfo, fit_critic
from trpo_jax.algorithm.critic_gauss_newton import improve_critic
from trpo_jax.algorithm.estimation import value_rollout
from trpo_jax.algorithm.masking import weighted_mean
from trpo_jax.algorithm.metrics import UpdateInfo
from trpo_jax.algorithm.policy_update import PolicyInfo, improve_policy
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import Config

PyTree = Any

CRITIC_OPTIMIZER = optax.scale_by_adam()


def estimate_advantages(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> Batch:
    """Turn transitions into a `Batch`: value, scale rewards, apply `advantages`.

    Rows of weight 0 are ignored whatever they hold, NaN included: the recursion is cut
    at them, and they come out as zeros. It goes on over the seams of a rollout that was
    put together along time: let the last row of each piece be truncated. Where an
    action led to what the next row acts on, its value is taken from there. A loop of
    unknown length values the others, so that this cannot be differentiated in reverse;
    `advantages` can.

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
            state = absorb_statistics(state, rollout, config)
    """
    return _estimate(state, rollout, agent, config)[0]


def _estimate(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> tuple[Batch, jax.Array]:
    valuation = value_rollout(state, rollout, agent, config)
    rollout, *arguments = valuation
    advantage, value_target = advantages(
        *arguments, discount=config.discount, gae_lambda=config.gae_lambda
    )
    batch = Batch(
        observation=rollout.observation,
        action=rollout.action,
        advantage=advantage,
        value_target=value_target,
        weight=rollout.weight,
    )
    return batch, valuation.value


def update(
    state: TrainState,
    rollout: Rollout | Batch | VineBatch,
    agent: Agent,
    config: Config,
) -> tuple[TrainState, UpdateInfo]:
    """Improve the policy within the trust region, then fit the critic.

    Nothing that is not finite is ever written into the state: a policy step that fails
    leaves the policy bit for bit as it was, a fit that fails the critic, and rows that
    are not finite never reach the normaliser.

    Args:
        state: its normaliser and critic are those that acted.
        rollout: transitions of this state's own policy, whose advantages are then
            estimated by the critic and whose statistics the normaliser takes in, or a
            finished batch of any kind, after which `absorb_statistics` is for you to
            call. What another policy collected, an earlier one too, goes through
            `estimate_off_policy_advantages` first.
        agent: policy and critic.
        config: of the run.

    Returns:
        The next state, and an `UpdateInfo`.

    Raises:
        ValueError: when the critic's values do not have the shape of the rewards.

    Example:
        >>> from trpo_jax import collect, init, make_environment, mlp_agent
        >>> environment = make_environment("probe:policy")
        >>> agent = mlp_agent(environment.observation_space, environment.action_space)
        >>> config = Config(num_envs=4)
        >>> state = init(jax.random.key(0), environment, agent, config)
        >>> state, rollout = collect(state, environment, agent, num_steps=16)
        >>> state, info = update(state, rollout, agent, config)
        >>> bool(info.policy.kl <= config.max_kl)
        True
    """
    state, lesson, improved = improve(state, rollout, agent, config)
    fitted = fit(state, lesson, agent, config)
    return finish(state, improved, fitted)


def absorb_statistics(
    state: TrainState, rollout: Rollout, config: Config
) -> TrainState:
    """Let the normaliser take in a rollout, once all that it was used for is done.

    `update` does this itself with a `Rollout`; after one with a batch made from
    rollouts it is for the caller to do.
    """
    normalizer = update_normalizer(
        state.normalizer,
        rollout.observation,
        rollout.reward,
        rollout.terminated | rollout.truncated,
        rollout.weight,
        discount=config.discount,
    )
    return state.replace(normalizer=normalizer)


def scheduled(config: Config, iteration: jax.Array) -> Config:
    """Return the hyper-parameters of an iteration.

    Args:
        config: of the run.
        iteration: int32 scalar, updates done so far.

    Example:
        >>> config = Config(max_kl=0.02, max_kl_final=0.5, schedule_iterations=10)
        >>> [round(float(scheduled(config, i).max_kl), 3) for i in (0, 5, 10, 99)]
        [0.02, 0.015, 0.01, 0.01]
    """
    if not config.schedule_iterations:
        return config
    progress = jnp.minimum(iteration / config.schedule_iterations, 1)
    return dataclasses.replace(
        config,
        max_kl=config.max_kl * (1 + (config.max_kl_final - 1) * progress),
        critic_learning_rate=config.critic_learning_rate
        * (1 + (config.critic_learning_rate_final - 1) * progress),
    )


class Lesson(NamedTuple):
    """What the critic learns from; `N` rows.

    Attributes:
        key: chooses the minibatches, or the rows of the products.
        observation: pytree of `[N, ...]`, normalised.
        target: `[N]`.
        weight: `[N]`.
        value: `[N]`, the critic's values before the fit where they are known, or None.
    """

    key: jax.Array
    observation: PyTree
    target: jax.Array
    weight: jax.Array
    value: jax.Array | None


class Improved(NamedTuple):
    """What `improve` tells: a `PolicyInfo`, and the mean entropy of π_old in nats."""

    policy: PolicyInfo
    entropy: jax.Array


class Fitted(NamedTuple):
    """What `fit` gives: the critic's parameters and optimiser, and a `CriticInfo`."""

    params: PyTree
    optimizer_state: PyTree
    info: CriticInfo


def improve(
    state: TrainState,
    rollout: Rollout | Batch | VineBatch,
    agent: Agent,
    config: Config,
) -> tuple[TrainState, Lesson, Improved]:
    """Do the first half of `update`, after which the new policy can act.

    With `fit` in between, or beside whatever the policy does next, `finish` completes
    it: `update` is the three in a row.

    Args: as of `update`.

    Returns:
        The state with policy, normaliser and key moved on and the critic as it was, a
        `Lesson` for `fit`, and what `finish` needs.
    """
    batch, value = rollout, None
    if isinstance(rollout, Rollout):
        batch, value = _estimate(state, rollout, agent, config)
        value = value.reshape(-1)
    rows = batch.rows()
    normalizer = state.normalizer
    observation = normalize_observation(normalizer, rows.observation)
    key, fisher_key, critic_key = jax.random.split(state.key, 3)

    old = agent.policy.apply(state.policy_params, observation)
    policy_params, policy_info = improve_policy(
        fisher_key,
        agent.policy.apply,
        state.policy_params,
        rows.replace(observation=observation),
        scheduled(config, state.iteration),
    )
    state = state.replace(policy_params=policy_params, key=key)
    if isinstance(rollout, Rollout):
        state = absorb_statistics(state, rollout, config)
    lesson = Lesson(
        critic_key,
        normalize_observation(normalizer, rows.lesson.observation),
        rows.lesson.value_target,
        rows.lesson.weight,
        value,
    )
    return (
        state,
        lesson,
        Improved(policy_info, weighted_mean(old.entropy(), rows.weight)),
    )


def fit(state: TrainState, lesson: Lesson, agent: Agent, config: Config) -> Fitted:
    """Do the second half of `update`: fit the critic to a lesson of `improve`."""
    config = scheduled(config, state.iteration)
    if config.critic_method == "trust_region":
        params, info = improve_critic(
            lesson.key,
            agent.critic.apply,
            state.critic_params,
            lesson.observation,
            lesson.target,
            lesson.weight,
            max_kl=config.critic_max_kl,
            steps=config.critic_steps,
            damping=config.cg_damping,
            iterations=config.cg_iterations,
            tolerance=config.cg_tolerance,
            fraction=config.fraction_in_products(lesson.target.size),
            shrink=config.backtrack_coefficient,
            max_backtracks=config.max_backtracks,
        )
        return Fitted(params, state.critic_optimizer_state, info)
    return Fitted(
        *fit_critic(
            lesson.key,
            agent.critic.apply,
            state.critic_params,
            CRITIC_OPTIMIZER,
            state.critic_optimizer_state,
            lesson.observation,
            lesson.target,
            lesson.weight,
            value=lesson.value,
            learning_rate=config.critic_learning_rate,
            epochs=config.critic_epochs,
            minibatch_size=config.minibatch_of(lesson.target.size),
        )
    )


def finish(
    state: TrainState, improved: Improved, fitted: Fitted
) -> tuple[TrainState, UpdateInfo]:
    """Put the two halves of `update` together."""
    state = state.replace(
        critic_params=fitted.params,
        critic_optimizer_state=fitted.optimizer_state,
        iteration=state.iteration + 1,
    )
    return state, UpdateInfo(improved.policy, fitted.info, improved.entropy)

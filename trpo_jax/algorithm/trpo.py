"""Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477).

Maximise E[π_θ(a|s)/π_old(a|s) Â] subject to E_s[KL(π_old(·|s) ‖ π_θ(·|s))] ≤ δ.

One iteration is `train_step`: `collect` a rollout (or branch a vine, `collect_vine`),
estimate advantages, take one step of the policy within the trust region
(`update_policy`), fit the critic (`update_critic`), and update the normaliser.
"""

import functools
from typing import Any

import jax

from trpo_jax.agent.acting import value_of_rows
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import update_normalizer
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.critic import CriticInfo, fit_critic
from trpo_jax.algorithm.critic_gauss_newton import fit_critic_gauss_newton
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.joint_update import describe_fit
from trpo_jax.algorithm.metrics import Metrics, UpdateInfo, summarize
from trpo_jax.algorithm.policy_update import update_policy
from trpo_jax.algorithm.rollout import Rollout, collect
from trpo_jax.algorithm.schedules import scheduled
from trpo_jax.algorithm.sequences import whole_rows
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.vine import collect_vine
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.environments.base import Environment

PyTree = Any


def train_step(
    state: TrainState, environment: Environment, agent: Agent, config: Config
) -> tuple[TrainState, Metrics]:
    """Run one iteration: collect a batch, improve the policy, fit the critic.

    Args:
        state: from `init` or an earlier iteration.
        environment: a single environment.
        agent: policy and critic.
        config: its `sampling` chooses between single paths and the vine.

    Returns:
        The next state, and `Metrics`.

    Example:
        >>> from trpo_jax import init, make_environment, default_agent
        >>> environment = make_environment("probe:policy")
        >>> spaces = environment.observation_space, environment.action_space
        >>> agent = default_agent(*spaces)
        >>> config = Config(num_envs=4, num_steps=16)
        >>> state = init(jax.random.key(0), environment, agent, config)
        >>> state, metrics = train_step(state, environment, agent, config)
        >>> int(state.iteration), bool(metrics.kl <= config.max_kl)
        (1, True)
    """
    if config.sampling == "vine":
        state, rollout, batch = collect_vine(state, environment, agent, config)
        state, info = update_from_batch(state, batch, agent, config)
        return update_statistics(state, rollout, config), summarize(rollout, info)
    state, rollout = collect(state, environment, agent, **config.rollout_options)
    state, info = update(state, rollout, agent, config)
    return state, summarize(rollout, info)


def update(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> tuple[TrainState, UpdateInfo]:
    """Learn from a rollout: improve the policy, fit the critic, update the normaliser.

    Nothing that is not finite is ever written into the state: a failed step leaves the
    policy bit for bit as it was, a failed fit leaves the critic as it was, and rows
    that are not finite do not reach the normaliser.

    Args:
        state: its normaliser and critic are those that the rollout was collected with.
        rollout: transitions of this state's own policy. Those of another, such as an
            earlier one, need `estimate_off_policy_advantages` and `update_from_batch`.
        agent: policy and critic.
        config: the hyper-parameters.

    Returns:
        The next state, and an `UpdateInfo`.

    Raises:
        ValueError: when the critic's values do not have the shape of the rewards.

    Example:
        >>> from trpo_jax import collect, init, make_environment, default_agent
        >>> environment = make_environment("probe:policy")
        >>> spaces = environment.observation_space, environment.action_space
        >>> agent = default_agent(*spaces)
        >>> config = Config(num_envs=4)
        >>> state = init(jax.random.key(0), environment, agent, config)
        >>> state, rollout = collect(state, environment, agent, num_steps=16)
        >>> state, info = update(state, rollout, agent, config)
        >>> bool(info.policy.kl <= config.max_kl)
        True
    """
    batch = estimate_advantages(state, rollout, agent, config)
    state, info = update_from_batch(state, batch, agent, config)
    return update_statistics(state, rollout, config), info  # the normaliser, last


def update_from_batch(
    state: TrainState, batch: Batch | VineBatch, agent: Agent, config: Config
) -> tuple[TrainState, UpdateInfo]:
    """Improve the policy within the trust region, then fit the critic.

    Args:
        state: its normaliser is the one that acted.
        batch: of any kind: from `estimate_advantages`, `collect_vine`,
            `estimate_off_policy_advantages`, or your own.
        agent: policy and critic.
        config: the hyper-parameters.

    Returns:
        The next state, whose normaliser is unchanged (`update_statistics` updates it),
        and an `UpdateInfo`.

    Example:
        ::

            batch = estimate_advantages(state, rollout, agent, config)
            state, info = update_from_batch(state, batch, agent, config)
            state = update_statistics(state, rollout, config)
    """
    config, batch, (key, policy_key, critic_key) = prepare_update(state, batch, config)
    policy_params, policy_info = update_policy(
        policy_key, state.policy_params, batch, agent, config
    )
    state = state.replace(key=key, policy_params=policy_params)
    critic, critic_info = update_critic(
        critic_key, state, batch.critic_batch, agent, config
    )
    state = state.replace(**critic, iteration=state.iteration + 1)
    return state, UpdateInfo(policy_info, critic_info)


def prepare_update(
    state: TrainState, batch: Batch | VineBatch, config: Config
) -> tuple[Config, Any, jax.Array]:
    """Return what the policy's and the critic's part of an update start from.

    These are the hyper-parameters of this iteration, with schedules evaluated; the
    batch with rows `[N]` and normalised observations; and three keys: the state's next
    one, the policy's and the critic's.
    """
    batch = batch.flatten().normalize(state.normalizer)
    return scheduled(config, state.iteration), batch, jax.random.split(state.key, 3)


def update_critic(
    key: jax.Array, state: TrainState, batch: Batch, agent: Agent, config: Config
) -> tuple[dict[str, PyTree], CriticInfo]:
    """Fit the critic to the value targets of a batch, by `config.critic_method`.

    Args:
        key: consumed.
        state: its critic and optimiser state are used; with a network that policy and
            critic share, its policy has already been updated.
        batch: the batch's `critic_batch`, flattened and normalised, `[N, ...]`.
        agent: its critic is fitted, with its optimiser.
        config: the hyper-parameters of this iteration.

    Returns:
        The new values of `critic_params` and `critic_optimizer_state` of the state
        (unchanged when the fit failed; none where the critic has no parameters of its
        own), and a `CriticInfo`.

    Example:
        ::

            critic, info = update_critic(key, state, batch, agent, config)
            state = state.replace(**critic)
    """
    if agent.heads is not None:  # fitted in the step of the policy
        return {}, describe_fit(state, batch, agent)
    apply = functools.partial(value_of_rows, agent)
    size = config.minibatch_of(batch.weight.size)
    value, *columns, size = whole_rows(batch, size)
    rows = batch.observation, *columns
    optimizer_state = state.critic_optimizer_state
    if config.critic_method == "gauss_newton":
        params, info = fit_critic_gauss_newton(
            key,
            apply,
            state.critic_params,
            *rows,
            max_kl=config.critic_radius,
            steps=config.critic_steps,
            damping=config.cg_damping,
            fraction=config.fraction_in_products(batch.weight.size),
            **config.solver_options,
        )
    else:
        params, optimizer_state, info = fit_critic(
            key,
            apply,
            state.critic_params,
            agent.critic_optimizer,
            optimizer_state,
            *rows,
            value=value,
            learning_rate=config.critic_learning_rate,
            epochs=config.critic_epochs,
            minibatch_size=size,
        )
    return {"critic_params": params, "critic_optimizer_state": optimizer_state}, info


def update_statistics(
    state: TrainState, rollout: Rollout, config: Config
) -> TrainState:
    """Update the normaliser with a rollout, after everything that used its old values.

    `update` does this itself; after `update_from_batch`, call it yourself.

    Args:
        state: its normaliser is updated.
        rollout: leading axes `[T, B]`.
        config: `discount` is used.

    Returns:
        The state with the new normaliser.

    Example:
        ::

            state = update_statistics(state, rollout, config)
    """
    normalizer = update_normalizer(
        state.normalizer, *rollout.statistics_inputs, discount=config.discount
    )
    return state.replace(normalizer=normalizer)

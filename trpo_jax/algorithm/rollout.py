"""Single-path data collection: every environment follows one trajectory.

Shapes: `T` time steps lead, then `B` environments.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.algorithm.state import TrainState
from trpo_jax.environments.base import Environment, step_and_reset
from trpo_jax.validation import COUNT, check

PyTree = Any


@struct.dataclass
class Rollout:
    """Transitions as the environment gave them: nothing normalised, nothing scaled.

    Attributes:
        observation: pytree of `[T, B, ...]`, acted on.
        action: pytree of `[T, B, ...]`, as sampled from the policy.
        log_prob: `[T, B]` log-probability under the policy that acted.
        reward: `[T, B]`.
        next_observation: pytree of `[T, B, ...]`, where the action led; at the end of
            an episode its final observation, never the one after the reset.
        terminated: `[T, B]` bool.
        truncated: `[T, B]` bool.
        weight: `[T, B]`, 1 for a transition, 0 for a row to be ignored everywhere.
        episode_return: `[T, B]` sum of the episode's rewards up to and with this step.
        episode_length: `[T, B]` int32, the episode's steps up to and with this one.
        policy_version: int32 scalar, `TrainState.iteration` of the policy that acted.
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


def staggered(
    steps: int | jax.Array, num_envs: int, max_episode_steps: int | None
) -> Any:
    """Return where an episode is to be cut so that starts are spread over time.

    Environments that start together and run to the same time limit stay in step for
    ever, and every batch then shows one slice of the episode. Whatever episode is under
    way in environment i after (i + 1) / B of the limit is cut off there, once a run:
    that spreads them evenly.

    Args:
        steps: done by every environment since the start of the run, T an update.
        num_envs: B.
        max_episode_steps: the time limit; without one nothing is cut.

    Returns:
        `[B]` bool.

    Example:
        >>> staggered(50, 4, 200).tolist()
        [True, False, False, False]
    """
    limit = max_episode_steps or 0
    cuts = [(i + 1) * limit // num_envs for i in range(num_envs)]
    return np.array(cuts) == steps


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

    Each environment has keys of its own at every step, by its index: the numbers drawn
    do not depend on how the batch is laid out over devices. Episodes go on from where
    the last call left them.

    Args:
        state: its policy and normaliser act; neither changes.
        environment: a single environment.
        agent: its policy acts.
        num_steps: static, T.
        stagger_starts: static; see `staggered`; called once an update.
        time_limit: static; steps after which an episode is truncated, if not before; 0
            leaves the environment's own limit.

    Returns:
        The state with the environments moved on, and a `Rollout`.

    Example:
        >>> from trpo_jax import Config, init, make_environment, mlp_agent
        >>> environment = make_environment("CartPole-v1")
        >>> agent = mlp_agent(environment.observation_space, environment.action_space)
        >>> def run(key):
        ...     state = init(key, environment, agent, Config(num_envs=8))
        ...     return collect(state, environment, agent, num_steps=5)
        >>> _, rollout = jax.eval_shape(run, jax.random.key(0))
        >>> rollout.observation.shape, rollout.reward.shape
        ((5, 8, 4), (5, 8))
    """
    state, rollout, _ = _follow(
        state, environment, agent, num_steps, stagger_starts, time_limit, None
    )
    return state, rollout


@struct.dataclass
class Snapshots:
    """States of the environment to which simulation can return.

    Attributes:
        env_state: pytree of `[M, B, ...]`.
        observation: pytree of `[M, B, ...]`, of those states; not normalised.
    """

    env_state: PyTree
    observation: PyTree


def collect_with_snapshots(
    key: jax.Array,
    state: TrainState,
    environment: Environment,
    agent: Agent,
    *,
    num_steps: int,
    num_snapshots: int,
    stagger_starts: bool = False,
    time_limit: int = 0,
) -> tuple[TrainState, Rollout, Snapshots]:
    """Do what `collect` does, and keep some of the states that were acted in.

    Time is cut into as many stretches as there are snapshots, and one state is kept
    from each, at a random time of its own in every environment.

    Args:
        key: consumed; chooses the states.
        state: as of `collect`, and so are all that follow but `num_snapshots`.
        environment: a single environment.
        agent: its policy acts.
        num_steps: static, T.
        num_snapshots: static, M ≤ T, in every environment.
        stagger_starts: static.
        time_limit: static.

    Returns:
        What `collect` returns, and `Snapshots`.
    """
    times = pick_times(key, num_steps, num_snapshots, state.episode_return.shape[0])
    return _follow(
        state, environment, agent, num_steps, stagger_starts, time_limit, times
    )


def pick_times(
    key: jax.Array, num_steps: int, num_snapshots: int, num_envs: int
) -> jax.Array:
    """Return at which steps states are kept, int32 `[M, B]`, one in each stretch.

    Args:
        key: consumed.
        num_steps: static, T.
        num_snapshots: static, M ≤ T.
        num_envs: static, B.

    Raises:
        ValueError: when there are more than there are steps.
    """
    check("num_snapshots", num_snapshots, COUNT)
    if num_snapshots > num_steps:
        raise ValueError(
            f"num_snapshots must be <= num_steps; got {num_snapshots} > {num_steps}"
        )
    bounds = -(-np.arange(num_snapshots + 1) * num_steps // num_snapshots)
    first, length = bounds[:-1, None].astype(np.int32), np.diff(bounds)[:, None]
    where = jax.random.uniform(key, (num_snapshots, num_envs))
    offset = (where * length.astype(np.float32)).astype(jnp.int32)
    return first + jnp.minimum(offset, length.astype(np.int32) - 1)


def _follow(
    state: TrainState,
    environment: Environment,
    agent: Agent,
    num_steps: int,
    stagger_starts: bool,
    time_limit: int,
    times: jax.Array | None,
) -> tuple[TrainState, Rollout, Snapshots | None]:
    """Do the work of `collect`; keep the states before steps `times`, `[M, B]`."""
    check("num_steps", num_steps, COUNT)
    batch = state.episode_return.shape[0]
    keys = jax.random.split(state.key, 1 + num_steps * batch * 3)
    next_key, keys = keys[0], keys[1:].reshape(num_steps, batch, 3)
    step_all = jax.vmap(functools.partial(step_and_reset, environment))

    def act(observation: PyTree) -> Any:
        observation = normalize_observation(state.normalizer, observation)
        return agent.policy.apply(state.policy_params, observation)

    def cut(t: jax.Array, episode_length: jax.Array) -> tuple[jax.Array, ...]:
        cuts = []
        if time_limit:
            cuts.append(episode_length + 1 >= time_limit)
        if stagger_starts:
            steps = state.iteration * num_steps + t + 1
            limit = time_limit or environment.max_episode_steps
            cuts.append(staggered(steps, batch, limit))
        return (functools.reduce(jnp.logical_or, cuts),) if cuts else ()

    none_yet = None
    if times is not None:
        none_yet = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (len(times), *leaf.shape)),  # or keys
            Snapshots(state.env_state, state.observation),
        )

    def keep(kept: Snapshots, t: jax.Array, now: Snapshots) -> Snapshots:
        stretch = t * len(times) // num_steps
        chosen = times[stretch] == t

        def put(kept: jax.Array, now: jax.Array) -> jax.Array:
            wide = jax.lax.expand_dims(chosen, range(1, now.ndim))
            return kept.at[stretch].set(jnp.where(wide, now, kept[stretch]))

        return jax.tree.map(put, kept, now)

    def step(carry: tuple, now: tuple) -> tuple[tuple, dict[str, Any]]:
        t, keys = now
        env_state, observation, episode_return, episode_length, kept = carry
        if times is not None:
            kept = keep(kept, t, Snapshots(env_state, observation))
        action = jax.vmap(lambda policy, key: policy.sample(key))(
            act(observation), keys[:, 0]
        )
        env_state, to_act_on, step = step_all(
            keys[:, 1], keys[:, 2], env_state, action, *cut(t, episode_length)
        )
        ended = step.terminated | step.truncated
        episode_return = episode_return + step.reward
        episode_length = episode_length + 1
        transition = {
            "observation": observation,
            "action": action,
            "reward": step.reward,
            "next_observation": step.observation,
            "terminated": step.terminated,
            "truncated": step.truncated,
            "episode_return": episode_return,
            "episode_length": episode_length,
        }
        carry = (
            env_state,
            to_act_on,
            jnp.where(ended, 0, episode_return),
            jnp.where(ended, 0, episode_length),
            kept,
        )
        return carry, transition

    carry, transitions = jax.lax.scan(
        step,
        (
            state.env_state,
            state.observation,
            state.episode_return,
            state.episode_length,
            none_yet,
        ),
        (jnp.arange(num_steps), keys),
    )
    env_state, observation, episode_return, episode_length, kept = carry
    rollout = Rollout(
        **transitions,
        log_prob=act(transitions["observation"]).log_prob(transitions["action"]),
        weight=jnp.ones((num_steps, batch)),
        policy_version=state.iteration,
    )
    state = state.replace(
        env_state=env_state,
        observation=observation,
        episode_return=episode_return,
        episode_length=episode_length,
        key=next_key,
    )
    return state, rollout, kept

"""The world is `helpers.Clock`: whatever happens in it can be read off its numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Clock, assert_close, assert_identical, differ, softmax_agent

from trpo_jax.agent.normalization import Moments
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.rollout import Rollout, collect
from trpo_jax.config import Config

STEPS, BATCH = 7, 3
CLOCK, AGENT = Clock(), softmax_agent()
CONFIG = Config(num_envs=BATCH, num_steps=STEPS)
NAME, TIME = 0, 1  # of an observation

gather = jax.jit(
    functools.partial(collect, environment=CLOCK, agent=AGENT),
    static_argnames="num_steps",
)


def fresh(seed=0):
    return init(jax.random.key(seed), CLOCK, AGENT, CONFIG)


@pytest.fixture(scope="module")
def collected():
    """Two calls in a row: the states around them and the rollouts."""
    first = fresh()
    second, one = gather(first, num_steps=STEPS)
    third, two = gather(second, num_steps=STEPS)
    return (first, second, third), (one, two)


@pytest.fixture(scope="module")
def both(collected):
    """Both rollouts one after the other, as numpy arrays."""
    one, two = (r.replace(policy_version=jnp.zeros(1)) for r in collected[1])
    return jax.tree.map(lambda a, b: np.concatenate([a, b]), one, two)


def test_time_leads_then_environments(collected):
    _, (rollout, _) = collected
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), rollout)
    rows = (STEPS, BATCH)
    assert shapes == Rollout(
        observation=((*rows, 2), jnp.float32),
        action=(rows, jnp.int32),
        log_prob=(rows, jnp.float32),
        reward=(rows, jnp.float32),
        next_observation=((*rows, 2), jnp.float32),
        terminated=(rows, jnp.bool_),
        truncated=(rows, jnp.bool_),
        weight=(rows, jnp.float32),
        episode_return=(rows, jnp.float32),
        episode_length=(rows, jnp.int32),
        policy_version=((), jnp.int32),
    )


def test_every_row_is_a_transition(both):
    assert (both.weight == 1).all()
    assert both.terminated.any()
    assert both.truncated.any()


def test_the_next_observation_is_where_the_action_led(both):
    assert_identical(both.next_observation[..., NAME], both.observation[..., NAME])
    assert_identical(both.next_observation[..., TIME], both.observation[..., TIME] + 1)


def test_the_final_observation_is_never_that_of_the_reset(both):
    ended = both.terminated | both.truncated
    assert (both.next_observation[ended][:, TIME] == 3).all()
    assert (both.next_observation[..., TIME] > 0).all()


def test_after_an_end_a_new_episode_starts_otherwise_the_old_one_goes_on(both):
    ended = (both.terminated | both.truncated)[:-1]
    following = both.observation[1:]
    assert (following[ended][:, TIME] == 0).all()
    assert_identical(following[~ended], both.next_observation[:-1][~ended])


def test_rewards_and_observations_are_as_the_environment_gave_them(both):
    assert_close(both.reward, both.observation.sum(-1))


def test_the_second_call_goes_on_where_the_first_stopped(collected):
    (first, second, third), (one, two) = collected
    assert_identical(one.observation[0], first.observation)
    assert_identical(two.observation[0], second.observation)
    ended = (two.terminated | two.truncated)[-1]
    assert_identical(third.observation[~ended], two.next_observation[-1][~ended])


def test_twice_the_steps_in_one_call_are_the_same_experience_in_kind():
    _, rollout = gather(fresh(), num_steps=2 * STEPS)
    ended = np.asarray(rollout.terminated | rollout.truncated)
    assert ended.sum(0).tolist() == [2 * STEPS // 3] * BATCH
    assert ended[2::3].all()


def test_episode_sums_are_those_of_a_loop(collected, both):
    *_, third = collected[0]
    for b in range(BATCH):
        total, length = 0.0, 0
        for t in range(2 * STEPS):
            total, length = total + both.reward[t, b], length + 1
            np.testing.assert_allclose(both.episode_return[t, b], total, rtol=1e-5)
            assert both.episode_length[t, b] == length
            if both.terminated[t, b] or both.truncated[t, b]:
                total, length = 0.0, 0
        np.testing.assert_allclose(third.episode_return[b], total, rtol=1e-5)
        assert third.episode_length[b] == length


def test_log_prob_is_that_of_the_policy(collected):
    (first, *_), (rollout, _) = collected
    policy = AGENT.policy.apply(first.policy_params, rollout.observation)
    assert_close(rollout.log_prob, policy.log_prob(rollout.action))


def test_the_policy_sees_normalized_observations():
    state = fresh()
    mean, std = jnp.array([0.5, 1.0]), jnp.array([0.1, 2.0])
    moments = Moments(jnp.float32(9), mean, std**2)
    state = state.replace(normalizer=state.normalizer.replace(observation=moments))
    _, rollout = gather(state, num_steps=STEPS)
    scaled = (np.asarray(rollout.observation) - np.asarray(mean)) / np.asarray(std)
    policy = AGENT.policy.apply(state.policy_params, jnp.clip(scaled, -10, 10))
    assert_close(rollout.log_prob, policy.log_prob(rollout.action), rtol=1e-4)
    assert_close(rollout.reward, rollout.observation.sum(-1))


def test_only_the_world_moves_on(collected):
    (first, second, _), _ = collected
    for name in ("policy_params", "critic_params", "env_index", "iteration"):
        assert_identical(getattr(second, name), getattr(first, name))
    for name in ("env_state", "observation", "key"):
        assert differ(getattr(second, name), getattr(first, name))


def test_the_rollout_knows_its_policy():
    state = fresh().replace(iteration=jnp.int32(5))
    _, rollout = gather(state, num_steps=STEPS)
    assert int(rollout.policy_version) == 5


def test_the_same_state_gives_the_same_rollout(collected):
    (first, second, _), (one, _) = collected
    assert_identical(gather(first, num_steps=STEPS), (second, one))
    _, other = gather(fresh(seed=1), num_steps=STEPS)
    assert differ(other.action, one.action)


def test_every_reset_is_different(both):
    start = both.observation[both.observation[..., TIME] == 0]
    assert len(start) >= 12
    assert len(np.unique(start[:, NAME])) == len(start)


def test_environments_draw_their_own_actions():
    state = fresh()
    env_state, observation = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape),
        (state.env_state, state.observation),
    )
    state = state.replace(
        env_state=env_state,
        observation=observation,
        policy_params=jnp.zeros_like(state.policy_params),
    )
    _, rollout = gather(state, num_steps=2 * STEPS)
    columns = {tuple(column) for column in np.asarray(rollout.action).T.tolist()}
    assert len(columns) == BATCH


def test_what_happens_in_one_environment_leaves_the_others_alone():
    state = fresh()
    moved = state.replace(
        observation=state.observation.at[1].set(9.0),
        env_state=state.env_state._replace(
            name=state.env_state.name.at[1].set(9.0),
            time=state.env_state.time.at[1].set(1.0),
        ),
    )
    rollouts = [gather(s, num_steps=STEPS)[1] for s in (state, moved)]
    one, two = (
        (r.observation[:, [0, 2]], r.action[:, [0, 2]], r.reward[:, [0, 2]])
        for r in rollouts
    )
    assert_identical(two, one)
    assert differ(rollouts[0].reward, rollouts[1].reward)


def test_at_least_one_step_is_asked_for():
    with pytest.raises(ValueError, match="num_steps must be an integer >= 1"):
        collect(fresh(), CLOCK, AGENT, num_steps=0)


def test_staggered_starts_cut_first_episodes_at_shares_of_the_limit():
    stagger = jax.jit(
        functools.partial(
            collect, environment=CLOCK, agent=AGENT, num_steps=4, stagger_starts=True
        )
    )
    state, one = stagger(fresh())
    _, two = stagger(state.replace(iteration=state.iteration + 1))
    ends = np.concatenate([r.terminated | r.truncated for r in (one, two)])
    time = np.concatenate([r.observation[..., TIME] for r in (one, two)])
    for number, first in enumerate((1, 2, 3)):  # of a limit of three steps
        np.testing.assert_array_equal(
            np.flatnonzero(ends[:, number])[:2], [first - 1, first + 2]
        )
        np.testing.assert_array_equal(
            time[:, number], np.r_[np.arange(first), np.arange(8 - first) % 3]
        )
    cut = np.asarray(one.next_observation[[0, 1], [0, 1], TIME])
    np.testing.assert_array_equal(cut, [1, 2])  # where it was, not after the reset
    assert one.truncated[0, 0]
    assert one.truncated[1, 1]


@pytest.mark.parametrize("stagger", [False, True])
def test_a_shorter_time_limit_truncates_and_starts_again(stagger):
    _, rollout = collect(
        fresh(), CLOCK, AGENT, num_steps=7, time_limit=2, stagger_starts=stagger
    )
    ends = np.asarray(rollout.truncated | rollout.terminated)
    assert not rollout.terminated.any()  # no episode is three steps long
    time = np.asarray(rollout.observation[..., TIME])
    np.testing.assert_array_equal(
        np.asarray(rollout.next_observation[..., TIME]), time + 1
    )
    assert (time[1:][ends[:-1]] == 0).all()
    assert (time[1:][~ends[:-1]] == 1).all()

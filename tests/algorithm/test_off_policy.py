"""Data of another policy: V-trace against plain numpy, bias against exact MDPs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, differ
from hypothesis import given
from hypothesis import strategies as st

from trpo_jax import theory
from trpo_jax.agent.distributions import Categorical
from trpo_jax.agent.networks import Agent, Network
from trpo_jax.agent.normalization import Normalizer, normalize_observation
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.advantages import advantages
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.off_policy import (
    concatenate_batches,
    estimate_off_policy_advantages,
    shrink_max_kl,
    v_trace,
)
from trpo_jax.algorithm.rollout import Rollout, collect
from trpo_jax.algorithm.trpo import update, update_from_batch, update_statistics
from trpo_jax.config import Config
from trpo_jax.environments import make_environment
from trpo_jax.environments.tabular import TabularEnvironment


def trajectory(seed, shape):
    rng = np.random.default_rng(seed)
    log_ratio, reward, value, next_value = rng.normal(size=(4, *shape))
    terminated, truncated = rng.random((2, *shape)) < 0.2
    return log_ratio, reward, value, next_value, terminated, truncated


def by_recursion(data, discount, gae_lambda, rho_clip, trace_clip):
    """V-trace of one trajectory, backwards in time, element by element."""
    log_ratio, reward, value, next_value, terminated, truncated = data
    gain = np.zeros(len(reward) + 1)
    advantage = np.zeros(len(reward))
    for t in reversed(range(len(reward))):
        ratio = np.exp(log_ratio[t])
        following = 0.0 if terminated[t] else next_value[t]
        delta = reward[t] + discount * following - value[t]
        beyond = 0.0
        if not (terminated[t] or truncated[t]):
            beyond = discount * gae_lambda * gain[t + 1]
        gain[t] = min(rho_clip, ratio) * delta + min(trace_clip, ratio) * beyond
        advantage[t] = delta + beyond
    return advantage, value + gain[:-1]


@given(
    seed=st.integers(0, 2**31 - 1),
    steps=st.integers(1, 12),
    discount=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
    rho_clip=st.sampled_from([0.5, 1.0, 2.0, np.inf]),
    trace_clip=st.sampled_from([0.5, 1.0, 2.0, np.inf]),
)
def test_v_trace_is_its_recursion(
    seed, steps, discount, gae_lambda, rho_clip, trace_clip
):
    with jax.enable_x64(True):
        data = trajectory(seed, (steps,))
        actual = v_trace(
            *map(jnp.asarray, data),
            discount=discount,
            gae_lambda=gae_lambda,
            rho_clip=rho_clip,
            trace_clip=trace_clip,
        )
    expected = by_recursion(data, discount, gae_lambda, rho_clip, trace_clip)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_v_trace_of_the_paper_as_a_sum(x64):
    """Remark 1's eq. 1: v = V + Σ γᵗ (Π cᵢ) ρₜ δₜ, on a trajectory without ends."""
    data = list(trajectory(0, (6,)))
    data[4], data[5] = np.zeros(6, bool), np.zeros(6, bool)
    data[3] = np.append(data[2][1:], data[3][-1])  # V of where the step led
    log_ratio, reward, value, next_value, *_ = data
    _, target = v_trace(*map(jnp.asarray, data), discount=0.9)
    rho = np.minimum(1, np.exp(log_ratio))
    delta = rho * (reward + 0.9 * next_value - value)
    for s in range(6):
        total = sum(0.9 ** (t - s) * np.prod(rho[s:t]) * delta[t] for t in range(s, 6))
        np.testing.assert_allclose(target[s], value[s] + total, rtol=1e-12)


@given(seed=st.integers(0, 2**31 - 1), gae_lambda=st.floats(0, 1))
def test_on_policy_it_is_generalised_advantage_estimation(seed, gae_lambda):
    _, *data = map(functools.partial(jnp.asarray), trajectory(seed, (9, 3)))
    data = [x.astype(jnp.float32) if x.dtype != bool else x for x in data]
    rates = {"discount": 0.97, "gae_lambda": gae_lambda}
    actual = v_trace(jnp.zeros((9, 3)), *data, **rates)
    assert_close(actual, advantages(*data, **rates), 1e-6, 1e-6)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="must have one shape"):
        v_trace(*[jnp.zeros(3)] * 4, *[jnp.zeros(2, bool)] * 2, discount=0.9)


@functools.cache
def started():
    environment = make_environment("CartPole-v1")
    agent = default_agent(environment.observation_space, environment.action_space)
    config = Config(num_envs=4, num_steps=64, stagger_starts=False)

    @jax.jit
    def start(key):
        state = init(key, environment, agent, config)
        state, rollout = collect(state, environment, agent, num_steps=64)
        state = update_statistics(state, rollout, config)
        return collect(state, environment, agent, num_steps=64)

    state, rollout = start(jax.random.key(0))
    return agent, config, state, rollout


def test_data_of_the_policy_itself_give_the_batch_of_an_ordinary_update():
    agent, config, state, rollout = started()
    actual = estimate_off_policy_advantages(state, rollout, agent, config)
    expected = estimate_advantages(state, rollout, agent, config)
    np.testing.assert_allclose(actual.importance_ratio, 1, rtol=1e-5)
    assert_close(actual.replace(importance_ratio=None), expected, 1e-4, 1e-5)
    # Exactly once the log-probabilities are: acting and learning round differently.
    observation = normalize_observation(state.normalizer, rollout.observation)
    policy = agent.policy.apply(state.policy_params, observation)
    exact = rollout.replace(log_prob=policy.log_prob(rollout.action))
    actual = estimate_off_policy_advantages(state, exact, agent, config)
    assert jnp.all(actual.importance_ratio == 1)
    assert_close(actual.replace(importance_ratio=None), expected, 1e-6, 1e-6)


def test_rows_of_weight_zero_may_hold_anything():
    agent, config, state, rollout = started()
    masked = rollout.replace(weight=rollout.weight.at[10].set(0.0))
    poisoned = masked.replace(
        reward=masked.reward.at[10].set(jnp.nan),
        log_prob=masked.log_prob.at[10].set(-jnp.inf),
        observation=masked.observation.at[10].set(jnp.inf),
        next_observation=masked.next_observation.at[10].set(jnp.nan),
    )
    assert_identical(
        *(
            estimate_off_policy_advantages(state, data, agent, config)
            for data in (masked, poisoned)
        )
    )


def test_what_the_current_policy_never_does_is_no_poison():
    agent = table_agent(None, jnp.zeros(2))
    forbidding = jnp.array([[0.0, 1.0, -jnp.inf], [0.5, 0.0, 0.0]])
    observation = jnp.array([[0], [0], [1]])
    rollout = Rollout(
        observation=observation,
        action=jnp.array([[2], [1], [0]]),
        log_prob=jnp.log(jnp.full((3, 1), 1 / 3)).at[1].set(-500.0),
        reward=jnp.ones((3, 1)),
        next_observation=observation,
        terminated=jnp.zeros((3, 1), bool),
        truncated=jnp.zeros((3, 1), bool),
        weight=jnp.ones((3, 1)),
        episode_return=jnp.zeros((3, 1)),
        episode_length=jnp.zeros((3, 1), jnp.int32),
        policy_version=jnp.int32(0),
    )
    state = started()[2].replace(
        policy_params=forbidding, critic_params=jnp.zeros(2),
        normalizer=Normalizer(None, None, None),
    )  # fmt: skip
    batch = estimate_off_policy_advantages(state, rollout, agent, Config())
    assert all(
        jnp.all(jnp.isfinite(x)) for x in (batch.importance_ratio, batch.advantage)
    )
    rows = batch.flatten()
    surrogate = rows.surrogate(
        Categorical(forbidding[rows.observation]), standardize=True
    )
    gradient = jax.grad(lambda x: surrogate(Categorical(x[rows.observation])))(
        forbidding
    )
    assert jnp.all(jnp.isfinite(gradient))


# --- on a finite process, where the truth is known -----------------------------------


def table_agent(mdp, critic):
    """A softmax table for a policy, and a critic that knows its values."""

    def apply(logits, observation):
        return Categorical(logits[observation])

    return Agent(
        Network(lambda key, o: jnp.zeros(mdp.reward.shape), apply),
        Network(lambda key, o: critic, lambda v, o: v[o]),
    )


@functools.cache
def foreign_data():
    """Steps of β in a process, the current policy π, and the exact advantages of π."""
    mdp = theory.random_mdp(jax.random.key(0), 4, 3, 0.8)
    logits = jax.random.normal(jax.random.key(1), (4, 3))
    behavior = logits + 0.4 * jax.random.normal(jax.random.key(2), (4, 3))
    policy = jax.nn.softmax(logits)
    environment = TabularEnvironment(mdp, geometric=True)
    agent = table_agent(mdp, jnp.zeros(4))
    config = Config(
        num_envs=4096, discount=1.0, gae_lambda=1.0, scale_reward=False,
        normalize_observation=False, standardize_advantage=False,
    )  # fmt: skip

    @jax.jit
    def run(key):
        state = init(key, environment, agent, config)
        state = state.replace(policy_params=behavior)
        return collect(state, environment, agent, num_steps=100)

    state, rollout = run(jax.random.key(3))
    state = state.replace(policy_params=logits)
    return mdp, policy, jax.nn.softmax(behavior), agent, config, state, rollout


def mean_and_error(x, group, groups):
    """Mean of every group of entries `[groups]`, and its standard error.

    Rows are environments: their means are independent.
    """
    count = np.stack([(group == g).sum(0) for g in range(groups)])
    total = np.stack([np.where(group == g, x, 0).sum(0) for g in range(groups)])
    mean = total.sum(1) / count.sum(1)
    spread = total - mean[:, None] * count
    return mean, np.sqrt((spread**2).sum(1)) / count.sum(1)


def estimated_values(**clips):
    """V-trace targets by state, with a critic of zeros, λ = 1: whole trajectories."""
    mdp, _, _, agent, config, state, rollout = foreign_data()
    batch = estimate_off_policy_advantages(state, rollout, agent, config, **clips)
    # Late in a trajectory the future is cut off, and zeros stand for it.
    early = slice(0, 40)
    return mean_and_error(
        np.asarray(batch.value_target)[early],
        np.asarray(batch.observation)[early],
        len(mdp.reward),
    )


def test_unclipped_targets_are_the_values_of_the_current_policy():
    mdp, policy, *_ = foreign_data()
    mean, error = estimated_values(rho_clip=jnp.inf, trace_clip=jnp.inf)
    truth = theory.state_value(mdp, policy)
    assert np.all(np.abs(mean - truth) < 5 * error + 0.02)
    assert np.all(error < 0.1)


def test_uncorrected_targets_are_those_of_the_policy_that_acted():
    mdp, policy, behavior, agent, config, state, rollout = foreign_data()
    batch = estimate_advantages(state, rollout, agent, config)
    mean, error = mean_and_error(
        np.asarray(batch.value_target)[:40],
        np.asarray(batch.observation)[:40],
        len(mdp.reward),
    )
    truth = theory.state_value(mdp, policy)
    np.testing.assert_allclose(
        mean,
        theory.state_value(mdp, behavior),
        atol=5 * error.max() + 0.02,
    )
    assert np.any(np.abs(mean - truth) > 10 * error)  # measurably biased


def gradient_of(corrected):
    """Gradient of the surrogate at π, [S, A], and its standard error."""
    mdp, policy, _, agent, config, state, rollout = foreign_data()
    value = theory.state_value(mdp, policy)
    config = Config(
        num_envs=4096, discount=1.0, gae_lambda=0.0, scale_reward=False,
        normalize_observation=False, standardize_advantage=False,
    )  # fmt: skip
    state = state.replace(critic_params=value)
    if corrected:
        batch = estimate_off_policy_advantages(state, rollout, agent, config)
    else:
        batch = estimate_advantages(state, rollout, agent, config)

    def one(batch):  # of one environment
        old = agent.policy.apply(state.policy_params, batch.observation)
        surrogate = batch.surrogate(old, standardize=False)
        return jax.grad(
            lambda logits: surrogate(agent.policy.apply(logits, batch.observation))
        )(state.policy_params)

    each = jax.jit(jax.vmap(one, in_axes=1))(batch)
    return np.mean(each, 0), np.std(each, 0) / np.sqrt(len(each))


def exact_gradient():
    """E_s∼β[Σₐ π A ∇log π]: states of β, everything else of π."""
    mdp, policy, behavior, *_ = foreign_data()
    weight = theory.visitation(mdp, behavior)
    weight = weight / weight.sum()
    return np.asarray(weight[:, None] * policy * theory.advantage(mdp, policy))


def test_the_corrected_gradient_is_unbiased_and_the_uncorrected_is_not():
    truth = exact_gradient()
    corrected, error = gradient_of(corrected=True)
    assert np.all(np.abs(corrected - truth) < 5 * error + 2e-3)
    uncorrected, error = gradient_of(corrected=False)
    assert np.any(np.abs(uncorrected - truth) > 10 * error + 2e-3)


@pytest.mark.parametrize("clip", [1.0, jnp.inf])
def test_without_a_critic_all_three_clips_matter(clip):
    """λ = 1 and a critic that knows nothing: the first step of long episodes."""
    mdp, policy, _, agent, _, state, rollout = foreign_data()
    config = Config(
        num_envs=4096, discount=1.0, gae_lambda=1.0, scale_reward=False,
        normalize_observation=False, standardize_advantage=False,
    )  # fmt: skip
    ignorant = state.replace(critic_params=jnp.zeros(len(policy)))
    batch = estimate_off_policy_advantages(
        ignorant, rollout, agent, config,
        rho_clip=clip, trace_clip=clip, importance_clip=clip,
    )  # fmt: skip
    first = jax.tree.map(lambda leaf: leaf[0], batch)
    # Of (π/β) Â ∇log π the part that belongs to each state and action.
    each = np.zeros((first.weight.size, *policy.shape))
    rows = np.arange(first.weight.size)
    each[rows, first.observation, first.action] = (
        first.importance_ratio * first.advantage
    )
    mean, error = each.mean(0), each.std(0) / np.sqrt(len(each))
    start = np.bincount(first.observation, minlength=len(policy)) / len(rows)
    truth = start[:, None] * np.asarray(policy * theory.action_value(mdp, policy))
    wrong = np.abs(mean - truth) > 5 * error + 5e-3
    assert wrong.any() if clip == 1 else not wrong.any()


# --- several rollouts, and how far to trust them -------------------------------------


def test_delta_shrinks_with_staleness():
    config = Config(max_kl=0.02)
    assert shrink_max_kl(config, 0).max_kl == 0.02
    assert shrink_max_kl(config, 4, rate=0.25).max_kl == 0.01
    assert shrink_max_kl(config, 9, rate=0.0).max_kl == 0.02
    with pytest.raises(ValueError, match="rate must be a finite number >= 0; got -1"):
        shrink_max_kl(config, 1, rate=-1.0)


def learn(agent, config):
    return jax.jit(lambda state, batch: update_from_batch(state, batch, agent, config))


def test_combining_weighs_batches():
    agent, config, state, rollout = started()
    batch = estimate_advantages(state, rollout, agent, config)
    half = jax.tree.map(lambda leaf: leaf[:32], batch)
    both = concatenate_batches(
        [half, jax.tree.map(lambda leaf: leaf[32:], batch)], [1.0, 1.0]
    )
    assert_close(both.replace(importance_ratio=None), batch)
    first = concatenate_batches(
        [half, half.replace(advantage=-half.advantage)], [0.5, 0.0]
    )
    alone, _ = learn(agent, config)(state, half)
    with_nothing, _ = learn(agent, config)(state, first)
    assert_close(alone.policy_params, with_nothing.policy_params, 1e-3, 1e-5)


def test_a_weight_of_three_is_a_batch_that_is_there_three_times():
    agent, config, state, rollout = started()
    batch = estimate_advantages(state, rollout, agent, config)
    first = jax.tree.map(lambda leaf: leaf[:16], batch)
    second = jax.tree.map(lambda leaf: leaf[16:48], batch)
    weighted, _ = learn(agent, config)(
        state, concatenate_batches([first, second], [0.5, 1.5])
    )
    repeated, _ = learn(agent, config)(
        state, concatenate_batches([first, second, second, second], [1.0] * 4)
    )
    plain, _ = learn(agent, config)(
        state, concatenate_batches([first, second], [1.0, 1.0])
    )
    assert_close(weighted.policy_params, repeated.policy_params, 1e-2, 1e-5)
    assert differ(weighted.policy_params, plain.policy_params)


@pytest.mark.parametrize("count", [(1, 2), (0, 0)])
def test_combining_needs_a_weight_a_batch(count):
    agent, config, state, rollout = started()
    batch = estimate_advantages(state, rollout, agent, config)
    with pytest.raises(ValueError, match=f"{count[0]} batches and {count[1]} weights"):
        concatenate_batches([batch] * count[0], [1.0] * count[1])


def test_an_update_from_stale_data_keeps_the_region_around_the_current_policy():
    agent, config, state, rollout = started()
    moved, _ = update(state, rollout, agent, config)
    batch = estimate_off_policy_advantages(moved, rollout, agent, config)
    staleness = moved.iteration - rollout.policy_version
    assert int(staleness) == 1
    near = shrink_max_kl(config, staleness)
    again, info = learn(agent, near)(moved, batch)
    assert bool(info.policy.search.accepted)
    old, new = (
        agent.policy.apply(
            s.policy_params,
            normalize_observation(moved.normalizer, rollout.observation),
        )
        for s in (moved, again)
    )
    assert jnp.mean(old.kl(new)) <= 0.005 * 1.01
    assert differ(
        update_statistics(again, rollout, config).normalizer, again.normalizer
    )


@pytest.mark.parametrize("kind", [jnp.int32, jnp.uint8, jnp.bool_, jnp.bfloat16])
def test_v_trace_takes_rewards_of_any_type(kind):
    log_ratio, reward, value, next_value, *flags = trajectory(3, (9,))
    reward = (reward > 0).astype(float)
    clips = {"rho_clip": 1.5, "trace_clip": 0.75}
    actual = v_trace(
        jnp.asarray(log_ratio, jnp.float32),
        jnp.asarray(reward, kind),
        *(jnp.asarray(x, jnp.float32) for x in (value, next_value)),
        *flags,
        discount=0.9,
        gae_lambda=0.8,
        **clips,
    )
    data = log_ratio, reward, value, next_value, *flags
    expected = by_recursion(data, 0.9, 0.8, *clips.values())
    assert {x.dtype for x in actual} == {jnp.dtype("float32")}
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)

"""The vine on simulators of the host, against a loop by hand; and on the ALE."""

from typing import NamedTuple

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.initialization import first_state
from trpo_jax.config import Config
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.environments.gymnasium_snapshots import put_back
from trpo_jax.host.actor import Actor, step_keys
from trpo_jax.host.vine import collect_vine_on_host, make_vine_actor
from trpo_jax.runs.api import train


class Drift(gymnasium.Env):
    """A number that noise and two actions push about, and that can be returned to.

    Reward: the number. An episode ends below −2, for good.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x += 0.5 * (2 * action - 1) + self.np_random.normal()
        return np.array([self.x], np.float32), self.x, self.x < -2, False, {}

    def clone_state(self, include_rng):
        assert include_rng
        return self.x, self.np_random.bit_generator.state

    def restore_state(self, state):
        self.x, self.np_random.bit_generator.state = state


def make(num_envs, seed=0, limit=12):
    one = lambda: gymnasium.wrappers.TimeLimit(Drift(), limit)  # noqa: E731
    vector = SyncVectorEnv([one] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    return GymnasiumEnvironment(vector, seed=seed, max_episode_steps=limit)


def setting(**values):
    return Config(
        **{
            "num_envs": 3, "num_steps": 8, "sampling": "vine", "vine_states": 2,
            "vine_steps": 6, "discount": 0.5, "scale_reward": False,
            "normalize_observation": False,
        } | values
    )  # fmt: skip


class Found(NamedTuple):
    observation: np.ndarray
    action: jax.Array
    action_value: jax.Array


def collected(environments, config, seed=0):
    if not isinstance(environments, list):
        environments = [environments]
    environment = environments[0]
    agent = default_agent(environment.observation_space, environment.action_space)
    observation = np.concatenate([each.reset() for each in environments])
    keys = jax.random.split(jax.random.key(seed), 3)
    state = first_state(
        keys, (), observation, environment.observation_space, agent, config
    )
    actor = Actor(agent)
    vine = make_vine_actor(agent, environment.action_space, config)
    after, rollout, proposals, values = collect_vine_on_host(
        state, environments, actor, vine, config
    )
    observation, _, action, _ = proposals
    found = Found(observation, action, values)
    return agent, state, after, rollout, found


def test_what_can_return_is_known():
    assert make(2).can_branch
    assert not GymnasiumEnvironment("CartPole-v1", 2).can_branch


def test_a_snapshot_brings_back_state_noise_and_clock():
    environment = make(2)
    environment.reset()

    def play(steps):
        seen = []
        for _ in range(steps):
            environment.send(np.ones(2, int))
            seen.append(environment.receive())
        return seen

    play(3)
    kept = [environment.snapshot(i) for i in range(2)]
    first = play(12)  # past the time limit
    for i in range(2):
        environment.restore(i, kept[i])
    again = play(9)  # up to it: what follows are other episodes
    for one, other in zip(first, again, strict=False):
        np.testing.assert_array_equal(one.next_observation, other.next_observation)
        np.testing.assert_array_equal(one.truncated, other.truncated)
    assert again[8].truncated.all()


def test_the_trunk_goes_on_as_if_nothing_had_branched():
    config = setting()
    environment, plain = make(3), make(3)
    _, state, after, rollout, _ = collected(environment, config)
    plain.reset()
    for t in range(config.num_steps):
        plain.send(rollout.action[t])
        np.testing.assert_array_equal(
            plain.receive().next_observation, rollout.next_observation[t]
        )
    environment.send(np.ones(3, int))
    plain.send(np.ones(3, int))
    np.testing.assert_array_equal(
        environment.receive().next_observation, plain.receive().next_observation
    )
    assert int(after.iteration) == int(state.iteration)


@pytest.mark.parametrize("limit", [12, 4])
@pytest.mark.parametrize("bootstrap", [True, False])
def test_a_branch_of_one_step_is_that_step(bootstrap, limit):
    """Both actions are tried in each kept state; the noise is the trunk's own."""
    config = setting(vine_steps=1, vine_bootstrap=bootstrap)
    agent, state, _, rollout, found = collected(make(3, limit=limit), config)
    assert found.action.shape == found.action_value.shape == (2, 3, 2)
    checked = 0
    for m in range(2):
        for b in range(3):
            trunk = np.flatnonzero(
                rollout.observation[:, b, 0] == found.observation[m, b]
            )
            (t,) = trunk
            assert 4 * m <= t < 4 * (m + 1)
            k = int(rollout.action[t, b])  # the one that the trunk took
            expected = rollout.reward[t, b]
            if bootstrap and not rollout.terminated[t, b]:
                value = agent.critic.apply(
                    state.critic_params, rollout.next_observation[t, b]
                )
                expected = expected + 0.5 * float(value)
            np.testing.assert_allclose(found.action_value[m, b, k], expected, rtol=1e-5)
            checked += 1
    assert checked == 6


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize("parts", [[3], [1, 2]])
def test_branches_are_a_loop_by_hand(parts, bootstrap, common, monkeypatch):
    """Six steps with ends inside; one simulator or two give the same."""
    config = setting(vine_bootstrap=bootstrap, vine_common_random_numbers=common)
    kept = {}
    usual = GymnasiumEnvironment.snapshot

    def snapshot(self, i):
        found = usual(self, i)
        kept[float(self._vector.envs[i].unwrapped.x)] = found
        return found

    monkeypatch.setattr(GymnasiumEnvironment, "snapshot", snapshot)
    starts = np.cumsum([0, *parts]).tolist()
    environments = [make(n, seed, 5) for n, seed in zip(parts, starts, strict=False)]
    agent, state, _, _, found = collected(environments, config)
    act = Actor(agent)
    branch_key = jax.random.split(state.key, 4)[3]
    keys = np.asarray(
        step_keys(branch_key, 0, num_steps=6, num_envs=6 if common else 12)
    )
    ends = set()
    for n, (m, b) in enumerate(np.ndindex(2, 3)):
        here = found.observation[m, b]
        first = next(kept[x] for x in kept if np.float32(x) == here[0])
        for k in range(2):
            one = gymnasium.wrappers.TimeLimit(Drift(), 5)
            one.reset(seed=0)
            put_back(one, first)
            total, action = 0.0, int(found.action[m, b, k])
            for t in range(6):
                seen, reward, terminated, truncated, _ = one.step(action)
                total += 0.5**t * reward
                if terminated or truncated:
                    break
                if t < 5:
                    row = keys[t + 1, n if common else 2 * n + k]
                    action, *_ = act(
                        state.policy_params, state.normalizer, row[None], np.False_,
                        seen[None],
                    )  # fmt: skip
                    action = int(action[0])
            ends.add((terminated, truncated))
            if bootstrap and not terminated:
                value = float(agent.critic.apply(state.critic_params, seen))
                total += 0.5 ** (t + 1) * value
            np.testing.assert_allclose(
                found.action_value[m, b, k], total, rtol=1e-4, atol=1e-5
            )
    assert (False, True) in ends


class Echo(gymnasium.Env):
    """The first action of a branch changes nothing; each later one is its reward."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.zeros(2)  # steps since it was restored; steps of the episode
        return np.zeros(1, np.float32), {}

    def step(self, action):
        reward = float(action) if self.state[0] > 0 else 0.0
        self.state += 1
        return np.zeros(1, np.float32), reward, False, False, {}

    def clone_state(self, include_rng):
        return self.state  # not a copy

    def restore_state(self, state):
        self.state = state
        self.state[0] = 0


@pytest.mark.parametrize("common", [True, False])
def test_common_random_numbers_are_common(common):
    vector = SyncVectorEnv([Echo] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    environment = GymnasiumEnvironment(vector, seed=0, max_episode_steps=100)
    config = setting(
        num_envs=4, vine_common_random_numbers=common, vine_bootstrap=False
    )
    *_, found = collected(environment, config)
    first, second = np.moveaxis(np.asarray(found.action_value), -1, 0)
    if common:  # the policy decides alike after either action
        np.testing.assert_array_equal(first, second)
        assert len(np.unique(first)) > 3  # but not after every state
    else:
        assert np.mean(first == second) < 0.5


def test_a_state_that_is_shared_with_its_environment_is_copied():
    vector = SyncVectorEnv([Echo], autoreset_mode=AutoresetMode.SAME_STEP)
    environment = GymnasiumEnvironment(vector, seed=0, max_episode_steps=100)
    environment.reset()
    inner = vector.envs[0].unwrapped

    def play(steps):
        for _ in range(steps):
            environment.send(np.ones(1, int))
            environment.receive()
        return inner.state[1]

    play(3)
    kept = environment.snapshot(0)
    assert play(2) == 5
    for _ in range(2):
        environment.restore(0, kept)
        assert play(2) == 5


def test_it_learns_through_the_command_s_own_path():
    result = train(
        make, total_steps=40_000, seed=1, num_envs=4, num_steps=32, sampling="vine",
        vine_states=4, vine_steps=4, progress=False, evaluation_episodes=8,
    )  # fmt: skip
    assert result.plan.config.vine_actions == 2  # no more than there are
    per_iteration = 4 * 32 + 4 * 4 * 2 * 4
    assert result.plan.iterations == 40_000 // per_iteration
    returns = result.metrics.episode_return[0]
    assert np.nanmean(returns[-10:]) > np.nanmean(returns[:10]) + 5


def test_an_environment_that_cannot_return_is_refused():
    with pytest.raises(
        ValueError, match="sampling must be single_path in gymnasium:Ca"
    ):
        train("gymnasium:CartPole-v1", sampling="vine", progress=False)


def test_atari_branches():
    ale = pytest.importorskip("ale_py")
    gymnasium.register_envs(ale)

    def game(num_envs, seed):
        return GymnasiumEnvironment(
            "ALE/Freeway-v5", num_envs, seed, obs_type="ram", max_episode_steps=200
        )

    result = train(
        game, total_steps=2 * (2 * 24 + 2 * 2 * 3 * 5), num_envs=2, num_steps=24,
        sampling="vine", vine_states=2, vine_steps=5, evaluation_episodes=1,
        hidden_sizes=(8,), progress=False,
    )  # fmt: skip
    assert result.plan.config.vine_actions == 3
    assert result.metrics.status.shape == (1, 2)
    assert np.isfinite(result.metrics.critic_loss).all()

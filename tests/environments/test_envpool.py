"""EnvPool's own environments: the oracle is a second pool, stepped by hand."""

import importlib
import warnings

import jax
import numpy as np
import pytest

from trpo_jax.environments import make_host_environment
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.runs import host_programs
from trpo_jax.runs.api import train

envpool = pytest.importorskip("envpool")
EnvpoolEnvironment = importlib.import_module(
    "trpo_jax.environments.envpool"
).EnvpoolEnvironment


pytestmark = pytest.mark.filterwarnings("ignore:.*precision lowered")  # Gymnasium's


def by_hand(name, num_envs, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return envpool.make(name, env_type="gymnasium", num_envs=num_envs, seed=seed)


def test_transitions_are_those_of_the_pool_and_resets_are_none():
    ours = EnvpoolEnvironment("CartPole-v1", 3, 7)
    theirs = by_hand("CartPole-v1", 3, 7)
    np.testing.assert_allclose(ours.reset(), theirs.reset()[0])
    over = np.zeros(3, bool)
    resets = 0
    for t in range(60):
        action = np.array([1, 1, t % 2])
        ours.send(action)
        step = ours.receive()
        observation, _, terminated, truncated, info = theirs.step(action)
        np.testing.assert_array_equal(info["env_id"], [0, 1, 2])  # in order
        np.testing.assert_array_equal(step.valid, ~over)
        np.testing.assert_allclose(step.next_observation, observation)
        np.testing.assert_allclose(step.observation, observation)
        np.testing.assert_array_equal(step.terminated, terminated)
        np.testing.assert_array_equal(step.truncated, truncated)
        np.testing.assert_array_equal(step.reward[~step.valid], 0)
        # An end shows the state that ended it, a reset one that does not.
        fallen = np.abs(step.next_observation[:, 2]) > 0.2095
        np.testing.assert_array_equal(fallen, terminated)
        resets += int((~step.valid).sum())
        over = terminated | truncated
    assert resets > 5
    ours.close()


def test_a_time_limit_truncates():
    pendulum = EnvpoolEnvironment("Pendulum-v1", 2, 0)
    assert pendulum.max_episode_steps == 200
    pendulum.reset()
    flags = []
    for _ in range(201):
        pendulum.send(np.zeros((2, 1), np.float32))
        step = pendulum.receive()
        flags.append((step.terminated[0], step.truncated[0], step.valid[0]))
    assert flags[198:] == [
        (False, False, True),
        (False, True, True),
        (False, False, False),
    ]


def test_some_may_start_again_between_two_steps():
    pool = EnvpoolEnvironment("Pendulum-v1", 4, 0)
    pool.reset()
    action = np.zeros((4, 1), np.float32)
    for _ in range(5):
        pool.send(action)
        before = pool.receive()
    mask = np.array([False, True, False, True])
    fresh = pool.restart(mask)
    assert fresh.shape == (2, 3)
    assert (np.abs(fresh - before.observation[mask]) > 1e-6).any(axis=1).all()
    for t in range(5, 201):
        pool.send(action)
        step = pool.receive()
        assert step.valid.all()
        assert step.truncated.tolist() == (~mask & (t == 199)).tolist()
        if t == 199:
            break
    pool.close()


@pytest.mark.parametrize("name", ["Hopper-v4", "HalfCheetah-v5"])
def test_actions_are_scaled_and_clipped_and_float64_becomes_float32(name):
    pools = [EnvpoolEnvironment(name, 1, 3) for _ in range(2)]
    for pool, action in zip(pools, (1.0, 9.0)):
        pool.reset()
        pool.send(np.full((1, len(pool.action_space.low)), action, np.float32))
    one, nine = (pool.receive() for pool in pools)
    np.testing.assert_array_equal(one.observation, nine.observation)
    assert one.observation.dtype == one.reward.dtype == np.float32
    assert pools[0].observation_space.dtype == "float32"
    for pool in pools:
        pool.close()


def test_dictionaries_and_images():
    walker = EnvpoolEnvironment("WalkerWalk-v1", 2)
    spaces = walker.observation_space.spaces
    assert all(isinstance(space, Box) for space in spaces.values())
    shapes = {key: leaf.shape for key, leaf in walker.reset().items()}
    assert shapes == {key: (2, *space.shape) for key, space in spaces.items()}
    walker.close()
    pong = EnvpoolEnvironment("Pong-v5", 1)
    assert pong.observation_space.dtype == "uint8"
    assert isinstance(pong.action_space, Discrete)
    assert pong.reset().dtype == np.uint8
    pong.close()


def test_an_unknown_name_and_one_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match=r"'Hoper-v4'; nearest: 'Hopper-v4'"):
        EnvpoolEnvironment("Hoper-v4")
    with pytest.raises(ValueError, match="envpool:VizdoomCustom-v1 cannot be made"):
        EnvpoolEnvironment("VizdoomCustom-v1")


def test_training_on_envpool_learns():
    result = train(
        "envpool:CartPole-v1",
        total_steps=20_000,
        seeds=2,
        num_envs=8,
        num_steps=128,
        max_kl=0.02,
        critic_learning_rate=1e-2,
        evaluation_episodes=10,
        progress=False,
    )
    assert result.metrics.kl.shape == (2, 19)
    assert min(result.evaluation["greedy"]["mean_per_seed"]) > 100  # random play: 22
    assert (result.metrics.explained_variance.max(axis=1) > 0.5).all()
    kl = result.metrics.kl
    assert (kl <= 0.02 * (1 + 1e-3)).all()
    assert jax.tree.leaves(result.state)[0].shape[0] == 2


def test_a_seed_alone_is_that_seed_among_others():
    values = {"total_steps": 1024, "num_envs": 4, "num_steps": 64}
    both = train("envpool:CartPole-v1", seeds=2, progress=False, **values)
    second = train("envpool:CartPole-v1", seed=1, progress=False, **values)
    np.testing.assert_allclose(
        both.metrics.episode_return[1], second.metrics.episode_return[0]
    )


@pytest.mark.parametrize("simulators", [1, 3])
def test_the_number_of_simulators_changes_nothing(simulators, monkeypatch):
    values = {"total_steps": 1024, "num_envs": 7, "num_steps": 64, "progress": False}
    monkeypatch.setattr(host_programs, "SIMULATORS", 2)
    two = train("envpool:CartPole-v1", **values)
    monkeypatch.setattr(host_programs, "SIMULATORS", simulators)
    other = train("envpool:CartPole-v1", **values)
    np.testing.assert_allclose(
        two.metrics.episode_return, other.metrics.episode_return, rtol=1e-5
    )


def test_the_front_door():
    environment = make_host_environment("Hopper-v4", 2, 0)
    assert environment.name == "envpool:Hopper-v4"
    assert environment.num_envs == 2
    environment.close()

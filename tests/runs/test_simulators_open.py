"""How many simulators on the host are open at a time: there may be only one."""

import gymnasium
import jax
import numpy as np
import pytest

from trpo_jax import load_policy, record, resume, train
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.environments.host import SimulatorError
from trpo_jax.host.actor import Actor
from trpo_jax.host.evaluation import evaluate_in_turn
from trpo_jax.runs.evaluate import evaluate_policy

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Device(gymnasium.Env):
    """It counts how many of it are open, and refuses to be one too many."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    available, open, most, made = 1, 0, 0, 0

    def __init__(self, render_mode=None):
        assert Device.open < Device.available, "the device is in use"
        self.render_mode, self.is_open = render_mode, True
        Device.open += 1
        Device.made += 1
        Device.most = max(Device.most, Device.open)

    def close(self):
        Device.open -= self.is_open
        self.is_open = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.length = 0, self.np_random.integers(3, 9)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert self.is_open
        self.time += 1
        seen = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        over = self.time >= self.length
        return seen, float(seen[0] + action), False, bool(over), {}

    def render(self):
        return np.zeros((4, 6, 3), np.uint8)


def make(num_envs, seed):
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    vector = gymnasium.vector.SyncVectorEnv([Device] * num_envs, autoreset_mode=mode)
    return GymnasiumEnvironment(vector, seed=seed, max_episode_steps=20)


@pytest.fixture(autouse=True)
def _registered():
    gymnasium.register("Device-v0", Device, max_episode_steps=20)
    Device.available, Device.open, Device.most = 1, 0, 0
    yield
    del gymnasium.registry["Device-v0"]
    assert Device.open == 0


@pytest.mark.parametrize(
    "environment", ["gymnasium:Device-v0", make], ids=["by name", "by function"]
)
@pytest.mark.parametrize(("available", "episodes"), [(1, 3), (2, 5)])
def test_no_more_are_open_than_a_run_trains_in(
    environment, available, episodes, tmp_path
):
    Device.available = available
    options = {"num_envs": available, "num_steps": 16, "hidden_sizes": (4,)}
    options |= {"evaluation_episodes": episodes, "output_dir": tmp_path}
    train(environment, total_steps=64, progress=False, **options)
    assert Device.most == available
    own = None if isinstance(environment, str) else environment
    resume(tmp_path, total_steps=128, environment=own, progress=False)
    policy = load_policy(tmp_path, environment=own)
    assert policy.act([0.0]) in (0, 1)
    assert Device.open == 0
    returns = evaluate_policy(policy, episodes=5)
    assert returns.finished.all()
    record(policy)
    assert Device.most == available


def test_what_cannot_be_used_is_closed(monkeypatch):
    with pytest.raises(SimulatorError, match="the device is in use"):
        GymnasiumEnvironment("Device-v0", num_envs=2)
    assert Device.open == 0
    monkeypatch.setattr(Device, "action_space", gymnasium.spaces.Text(2))
    with pytest.raises(ValueError, match="Text is not supported"):
        GymnasiumEnvironment("Device-v0")
    assert Device.open == 0


def test_to_act_none_is_opened(tmp_path):
    options = {"num_envs": 1, "num_steps": 16, "evaluation_episodes": 1}
    train(make, total_steps=32, output_dir=tmp_path, progress=False, **options)
    made = Device.made
    load_policy(tmp_path).act([0.5])
    load_policy(tmp_path, environment=make).act([0.5])
    assert Device.made == made


def test_the_episodes_do_not_depend_on_how_many_are_played_at_once(tmp_path):
    Device.available = 7
    options = {"num_envs": 2, "num_steps": 16, "evaluation_episodes": 1}
    train(make, total_steps=32, output_dir=tmp_path, progress=False, **options)
    policy = load_policy(tmp_path)
    results = []
    for at_once in (7, 3, 1):
        results.append(
            evaluate_in_turn(
                jax.random.key(0),
                make,
                Actor(policy.agent),
                *policy.parameters_of(0),
                episodes=7,
                at_once=at_once,
                seed=5,
                greedy=False,
            )
        )
    assert len(set(results[0].episode_length.tolist())) > 2
    for other in results[1:]:
        np.testing.assert_array_equal(other.episode_length, results[0].episode_length)
        np.testing.assert_allclose(
            other.episode_return, results[0].episode_return, rtol=1e-6
        )

"""Training, saving, resuming and acting with observations and actions of any space."""

import collections
import copy

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import (
    Box,
    Dict,
    Discrete,
    Graph,
    MultiBinary,
    MultiDiscrete,
    OneOf,
    Sequence,
    Text,
    Tuple,
)

import trpo_jax
from trpo_jax import evaluate_policy, load_policy, make_host_environment, resume, train
from trpo_jax.algorithm.initialization import first_state
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.host.actor import Actor
from trpo_jax.host.rollout import collect_on_host
from trpo_jax.host.vine import collect_vine_on_host, make_vine_actor
from trpo_jax.storage.pytree_arrays import numbers_of

pytestmark = pytest.mark.usefixtures("quick_compilation")
BOX = Box(-1, 1, (2,), np.float32)
SEEN = Dict(
    b=Tuple([Discrete(3, start=-1), MultiDiscrete([2, 3], start=[1, 2])]),
    a=MultiBinary(3),
    c=Dict(box=BOX, picture=Box(0, 255, (32, 32, 1), np.uint8)),
)
DONE = Dict(
    b=Discrete(3, start=5),
    a=Tuple([MultiBinary([2, 2]), Box(-2, 2, (2, 1), np.float64)]),
    c=MultiDiscrete([[2, 3]], start=[[1, 2]]),
)
TINY = {
    "num_envs": 2, "num_steps": 6, "hidden_sizes": (4,), "evaluation_episodes": 1,
    "progress": False,
}  # fmt: skip


class Simulator(gymnasium.Env):
    """Episodes of three steps at random places; refuses what is no action."""

    def __init__(self, observation_space, action_space):
        self.observation_space = copy.deepcopy(observation_space)  # its own numbers
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.time += 1
        over = self.time == 3
        return self.observation_space.sample(), float(self.time), over, False, {}


@pytest.fixture
def register(monkeypatch):
    registry = dict(gymnasium.registry)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry)
    monkeypatch.setattr(gymnasium, "registry", registry)

    def named(observation_space, action_space, kind=Simulator):
        registry.pop("Mine-v0", None)
        gymnasium.register(
            "Mine-v0", lambda: kind(observation_space, action_space),
            disable_env_checker=True,
        )  # fmt: skip
        return "gymnasium:Mine-v0"

    return named


def test_a_run_with_nested_spaces_is_saved_loaded_and_resumed(register, tmp_path):
    name = register(SEEN, DONE)
    result = train(name, total_steps=24, output_dir=tmp_path / "run", **TINY)
    assert np.isfinite(result.metrics.kl).all()
    moments = result.state.normalizer.observation
    assert moments["c"]["box"].mean.shape == (1, 2)
    assert (moments["a"], moments["b"], moments["c"]["picture"]) == (
        None, (None, None), None,
    )  # fmt: skip
    policy = load_policy(tmp_path / "run")
    SEEN.seed(0)
    for _ in range(3):
        seen = SEEN.sample()
        assert DONE.contains(policy.act(seen))
        assert DONE.contains(policy.act(seen, greedy=False, key=1))
    traced = jax.jit(policy.act)(dict(seen))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        traced, policy.act(seen),
    )  # fmt: skip
    assert evaluate_policy(policy, episodes=2).episode_return.tolist() == [[6, 6]]
    further = resume(tmp_path / "run", total_steps=48, progress=False)
    assert np.isfinite(further.metrics.kl).all()
    assert further.metrics.kl.shape == (1, 4)


def test_a_run_with_dictionaries_is_resumed_bit_for_bit(tmp_path):
    options = TINY | {"normalize_observation": True}
    whole = train("probe:mask", total_steps=48, **options)
    train("probe:mask", total_steps=24, output_dir=tmp_path / "run", **options)
    parts = resume(tmp_path / "run", total_steps=48, progress=False)
    assert whole.state.normalizer.observation["action_mask"] is None
    pairs = (whole.state, parts.state), (whole.metrics, parts.metrics)
    for one, other in pairs:
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(numbers_of(a), numbers_of(b))


def test_a_space_that_is_not_nested_trains(register):
    seen, done = MultiDiscrete([3, 2], start=[1, -1]), MultiBinary(2)
    result = train(register(seen, done), total_steps=12, **TINY)
    assert np.isfinite(result.metrics.kl).all()
    assert np.isfinite(result.metrics.critic_loss).all()


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3, start=-1), MultiDiscrete([2, 3], start=[1, 2]), MultiBinary(2),
        Tuple([Discrete(3), BOX]), Dict(a=BOX),
    ],
    ids=lambda space: type(space).__name__,
)  # fmt: skip
def test_every_kind_of_space_can_be_seen_and_done(space, register):
    environment = make_host_environment(register(space, space), 3)
    spaces = environment.observation_space, environment.action_space
    agent = trpo_jax.default_agent(*spaces, hidden_sizes=())
    trpo_jax.check_agent(agent, environment)
    seen = environment.reset()
    params = agent.policy.init(jax.random.key(0), jax.tree.map(lambda x: x[0], seen))
    for t in range(4):
        policy = agent.policy.apply(params, seen)
        action = policy.sample(jax.random.key(t))
        assert np.isfinite(policy.log_prob(action)).all()
        environment.send(jax.tree.map(np.asarray, action))  # it checks the action
        seen = environment.receive().observation
    environment.close()


@pytest.mark.parametrize(
    "space",
    [
        Text(3), Sequence(Discrete(2)), Graph(Discrete(2), None),
        OneOf([Discrete(2), Discrete(3)]),
    ],
    ids=lambda space: type(space).__name__,
)  # fmt: skip
def test_other_spaces_are_refused_by_name(space, register):
    kind = type(space).__name__
    with pytest.raises(ValueError, match=f"Mine-v0: observation space {kind} is not"):
        make_host_environment(register(space, Discrete(2)))
    with pytest.raises(ValueError, match=f"Mine-v0: action space {kind} is not supp"):
        make_host_environment(register(BOX, space))


def test_blackjack_has_tuples_of_observations():
    result = train("gymnasium:Blackjack-v1", total_steps=12, **TINY)
    space = result.environment.observation_space
    assert [leaf.n for leaf in space.spaces] == [32, 11, 2]
    assert np.isfinite(result.metrics.kl).all()


def test_envpool_has_dictionaries_with_masks():
    envpool = pytest.importorskip("envpool")
    environment = make_host_environment("envpool:Game2048-v1", 3, 0)
    spaces = environment.observation_space.spaces
    assert spaces["action_mask"] == trpo_jax.MultiBinary(4)
    agent = trpo_jax.default_agent(
        environment.observation_space, environment.action_space, hidden_sizes=(4,)
    )
    seen = environment.reset()
    params = agent.policy.init(jax.random.key(0), seen)
    policy = agent.policy.apply(params, seen)
    np.testing.assert_array_equal(np.isfinite(policy.logits), seen["action_mask"] > 0)
    environment.send(np.asarray(policy.mode()))
    after = environment.receive().observation
    assert {key: leaf.shape for key, leaf in after.items()} == {
        key: (3, *space.shape) for key, space in spaces.items()
    }
    environment.close()
    assert "Game2048-v1" in envpool.list_all_envs()


class Masked(Simulator):
    """What is seen is the time; the legal actions go round, and none other is taken.

    Its state can be saved, so that a vine can branch.
    """

    def _mask(self):
        mask = np.array([1, 0, 1], np.int8)
        return np.roll(mask, self.time)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {"action_mask": self._mask()}

    def step(self, action):
        assert self._mask()[action], "it is forbidden"
        _, reward, over, *_ = super().step(action)
        return self.time, reward, over, False, {"action_mask": self._mask()}

    def clone_state(self, include_rng=False):
        return self.time

    def restore_state(self, state):
        self.time = state


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_trap_each_observation_has_its_own_mask(mode):
    vector = gymnasium.vector.SyncVectorEnv(
        [lambda: Masked(Discrete(4), Discrete(3))] * 2, autoreset_mode=mode
    )
    environment = GymnasiumEnvironment(vector, seed=0, max_episode_steps=3)
    seen, times = environment.reset(), collections.Counter()

    def check(observation):
        for time, mask in zip(observation["observation"], observation["action_mask"]):
            np.testing.assert_array_equal(mask, np.roll([1, 0, 1], time))
            times[int(time)] += 1

    for _ in range(9):
        check(seen)
        environment.send(seen["action_mask"].argmax(1))
        step = environment.receive()
        check(step.next_observation)
        seen = step.observation
    check(environment.restart(np.array([True, False])))
    assert set(times) == {0, 1, 2, 3}
    environment.close()


@pytest.mark.parametrize("proposal", ["policy", "uniform"])
@pytest.mark.parametrize("actions", [2, 4])
def test_a_vine_branches_on_legal_actions_only(actions, proposal, register):
    environment = make_host_environment(register(Discrete(4), Discrete(3), Masked), 2)
    assert environment.can_branch
    spaces = environment.observation_space, environment.action_space
    agent = trpo_jax.default_agent(*spaces, hidden_sizes=(4,))
    config = trpo_jax.Config(
        num_envs=2, num_steps=6, sampling="vine", vine_states=3, vine_steps=2,
        vine_actions=actions, vine_proposal=proposal,
    )  # fmt: skip
    keys = jax.random.split(jax.random.key(0), 3)
    seen = environment.reset()
    state = first_state(keys, (), seen, spaces[0], agent, config)
    vine = make_vine_actor(agent, spaces[1], config)
    _, rollout, (shown, _, action, log_prob), value = collect_vine_on_host(
        state, [environment], Actor(agent), vine, config
    )
    mask = np.asarray(shown["action_mask"]) > 0
    legal = np.take_along_axis(mask, np.asarray(action), -1)
    assert np.isfinite(value).all()
    acted = np.take_along_axis(
        rollout.observation["action_mask"], rollout.action[..., None], -1
    )
    assert (acted == 1).all()
    if actions == 4:
        assert action.shape == (3, 2, 3)
        assert (~legal).sum() == 6
    else:
        assert legal.all()
        expected = np.log(0.5) if proposal == "uniform" else log_prob
        np.testing.assert_allclose(log_prob, expected, rtol=1e-6)
    environment.close()


def test_a_mask_of_another_size_is_named(register):
    class Wrong(Masked):
        def _mask(self):
            return np.ones(2, np.int8)

    environment = make_host_environment(register(Discrete(4), Discrete(3), Wrong))
    with pytest.raises(Exception, match=r"action_mask in info must have 3 numb.* 2"):
        environment.reset()
    environment.close()


@pytest.mark.parametrize(
    ("name", "steps", "best"), [("mask", 8192, 1.5), ("parts", 32768, 3.0)]
)
def test_nested_probes_are_solved(name, steps, best):
    result = train(
        f"probe:{name}", total_steps=steps, num_envs=64, num_steps=16, max_kl=0.05,
        hidden_sizes=(8,), evaluation_episodes=400, progress=False,
    )  # fmt: skip
    (score,) = result.evaluation["greedy"]["mean_per_seed"]
    assert abs(score - best) < 0.1  # of 400 draws of 1 or 2 for the mask


def test_a_vine_solves_the_masked_probe():
    result = train(
        "probe:mask", total_steps=16384, num_envs=64, num_steps=8, max_kl=0.05,
        hidden_sizes=(8,), evaluation_episodes=400, progress=False,
        sampling="vine", vine_states=4, vine_steps=1,
    )  # fmt: skip
    (score,) = result.evaluation["greedy"]["mean_per_seed"]
    assert abs(score - 1.5) < 0.1
    assert result.metrics.episode_return.max() < 1.8  # nothing forbidden was done


def test_an_agent_of_ones_own_sees_the_dictionary_itself():
    environment = trpo_jax.make_environment("probe:mask")

    def choose(params, observation):
        logits = observation["observation"] @ params["kernel"]
        return trpo_jax.Categorical(
            trpo_jax.mask_logits(logits, observation["action_mask"] > 0)
        )

    policy = trpo_jax.Network(
        lambda key, observation: {"kernel": np.zeros((1, 3), np.float32)}, choose
    )
    critic = trpo_jax.Network(
        lambda key, observation: {"value": np.zeros(1, np.float32)},
        lambda params, observation: observation["observation"] @ params["value"],
    )
    agent = trpo_jax.Agent(policy, critic)
    trpo_jax.check_agent(agent, environment)
    config = trpo_jax.Config(num_envs=8, num_steps=4)
    state = trpo_jax.init(jax.random.key(0), environment, agent, config)
    _, rollout = jax.jit(
        lambda state: trpo_jax.collect(state, environment, agent, num_steps=4)
    )(state)
    assert float(rollout.reward.max()) <= 2


@pytest.mark.parametrize("space", ["nested", "flat"])
def test_the_host_loop_gives_the_rows_that_the_simulators_gave(space, register):
    seen = SEEN if space == "nested" else BOX
    made = [make_host_environment(register(seen, DONE), n, n) for n in (1, 2)]
    agent = trpo_jax.default_agent(
        made[0].observation_space, made[0].action_space, hidden_sizes=(4,)
    )
    first = [environment.reset() for environment in made]
    joined = jax.tree.map(lambda *x: np.concatenate(x), *first)
    keys = jax.random.split(jax.random.key(0), 3)
    config = trpo_jax.Config(num_envs=3, num_steps=6)
    state = first_state(keys, (), joined, made[0].observation_space, agent, config)
    after, rollout = collect_on_host(state, made, Actor(agent), num_steps=6)
    twins = [make_host_environment(register(seen, DONE), n, n) for n in (1, 2)]
    for twin, envs in zip(twins, (slice(0, 1), slice(1, 3))):
        now = twin.reset()
        for t in range(6):
            jax.tree.map(
                lambda mine, theirs, t=t, envs=envs: np.testing.assert_array_equal(
                    mine[t, envs], theirs
                ),
                rollout.observation, now,
            )  # fmt: skip
            twin.send(
                jax.tree.map(lambda x, t=t, envs=envs: x[t, envs], rollout.action)
            )
            step = twin.receive()
            jax.tree.map(
                lambda mine, theirs, t=t, envs=envs: np.testing.assert_array_equal(
                    mine[t, envs], theirs
                ),
                rollout.next_observation, step.next_observation,
            )  # fmt: skip
            now = step.observation
        jax.tree.map(
            lambda mine, theirs, envs=envs: np.testing.assert_array_equal(
                mine[envs], theirs
            ),
            after.observation, now,
        )  # fmt: skip
    for environment in (*made, *twins):
        environment.close()

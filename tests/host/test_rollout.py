"""Simulators on the host: the oracle is a counter whose numbers tell what happened."""

import dataclasses
import functools
import itertools
import json
import os
import re
import signal
import time
from typing import ClassVar

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from helpers import assert_close, softmax_agent

from trpo_jax.agent.features import flatten_observation
from trpo_jax.agent.networks import Network
from trpo_jax.agent.normalization import init_normalizer, normalize_observation
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import first_state
from trpo_jax.algorithm.trpo import update
from trpo_jax.config import Config
from trpo_jax.environments.actions import convert_action
from trpo_jax.environments.conversion import convert_observations, convert_space
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.environments.host import (
    HostStep,
    SimulatorError,
    check_host_environment,
)
from trpo_jax.environments.spaces import Box, Dict, Discrete
from trpo_jax.host.actor import Actor
from trpo_jax.host.evaluation import evaluate_on_host
from trpo_jax.host.rollout import collect_on_host
from trpo_jax.runs.api import train
from trpo_jax.runs.evaluate import evaluate_policy
from trpo_jax.runs.host_programs import HostPrograms
from trpo_jax.runs.keys import seeds_of
from trpo_jax.runs.plan import make_plan
from trpo_jax.runs.policy_file import load_policy

AGENT = softmax_agent()
AGENT_OF_CARTPOLE = default_agent(
    Box.uniform((4,)), Discrete(2), hidden_sizes=(8,), activation="tanh"
)
LENGTHS = (3, 5, 4, 2)  # of the episodes of four environments
MODES = list(AutoresetMode)


class Counter(gymnasium.Env):
    """Observation: (episode · 100, time). Reward: time before the step.

    Odd environments are terminated at their length, even ones truncated.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, number):
        self.number, self.episode = number, 0

    def _observe(self):
        return np.array([100.0 * self.episode, self.time])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.time = 0
        return self._observe(), {}

    def step(self, action):
        assert self.time < LENGTHS[self.number], "stepped beyond the end"
        reward = float(self.time)
        self.time += 1
        over = self.time == LENGTHS[self.number]
        odd = bool(self.number % 2)
        return self._observe(), reward, over and odd, over and not odd, {}


def counters(mode, numbers=(0, 1, 2, 3), workers=False):
    makers = [functools.partial(Counter, number) for number in numbers]
    # A fork of a process with JAX in it can hang.
    kind = functools.partial(AsyncVectorEnv, context="forkserver")
    return GymnasiumEnvironment(
        (kind if workers else SyncVectorEnv)(makers, autoreset_mode=mode)
    )


def begin(environments, num_envs=4):
    keys = list(jax.random.split(jax.random.key(0), 3))
    observation = np.concatenate([each.reset() for each in environments])
    return first_state(
        keys, (), observation, Box.uniform((2,)), AGENT, Config(num_envs=num_envs)
    )


def transitions(rollout, environment):
    """Return the valid rows of one environment, in order."""
    valid = rollout.weight[:, environment] > 0
    return jax.tree.map(
        lambda leaf: leaf[:, environment][valid], rollout.replace(policy_version=None)
    )


ACTOR = Actor(AGENT)


@functools.cache
def collected(mode, split=(4,), workers=False):
    """Two calls in a row, from one simulator or several."""
    first = np.cumsum([0, *split])
    environments = [
        counters(mode, range(a, b), workers) for a, b in itertools.pairwise(first)
    ]
    state = begin(environments)
    state, one = collect_on_host(state, environments, ACTOR, num_steps=9)
    state, two = collect_on_host(state, environments, ACTOR, num_steps=8)
    for environment in environments:
        environment.close()
    both = jax.tree.map(
        lambda a, b: np.concatenate([a, b]),
        *(r.replace(policy_version=None) for r in (one, two)),
    )
    return state, both


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", range(len(LENGTHS)))
def test_trap_a_reset_is_no_transition_whoever_makes_it(mode, number):
    _, both = collected(mode)
    rows = transitions(both, number)
    length = LENGTHS[number]
    count = len(rows.reward)
    expected_time = np.arange(count) % length
    np.testing.assert_array_equal(rows.observation[:, 1], expected_time)
    np.testing.assert_array_equal(rows.reward, expected_time)
    np.testing.assert_array_equal(rows.next_observation[:, 1], expected_time + 1)
    np.testing.assert_array_equal(
        rows.observation[:, 0], 100 * (1 + np.arange(count) // length)
    )
    np.testing.assert_array_equal(  # never the episode that follows
        rows.next_observation[:, 0], rows.observation[:, 0]
    )
    over = expected_time == length - 1
    np.testing.assert_array_equal(rows.terminated, over & bool(number % 2))
    np.testing.assert_array_equal(rows.truncated, over & (number % 2 == 0))
    np.testing.assert_array_equal(rows.episode_length, expected_time + 1)
    np.testing.assert_array_equal(
        rows.episode_return, expected_time * (expected_time + 1) / 2
    )


def test_only_the_simulator_that_resets_in_a_step_loses_rows():
    lost = {mode: int((1 - collected(mode)[1].weight).sum()) for mode in MODES}
    assert lost[AutoresetMode.SAME_STEP] == lost[AutoresetMode.DISABLED] == 0
    assert lost[AutoresetMode.NEXT_STEP] > 0


@pytest.mark.parametrize("mode", MODES)
def test_one_simulator_or_two_give_the_same_rollout(mode):
    whole, halves = collected(mode)[1], collected(mode, (1, 3))[1]
    jax.tree.map(np.testing.assert_array_equal, whole, halves)


@pytest.mark.parametrize("mode", MODES)
def test_worker_processes_give_the_same_rollout(mode):
    alone, workers = collected(mode)[1], collected(mode, (4,), workers=True)[1]
    jax.tree.map(np.testing.assert_array_equal, alone, workers)


def test_log_probabilities_are_those_of_the_policy_that_acted():
    environments = [counters(AutoresetMode.NEXT_STEP)]
    state = begin(environments)
    undecided = jax.tree.map(lambda leaf: 0.01 * leaf, state.policy_params)
    state = state.replace(policy_params=undecided)
    _, rollout = collect_on_host(state, environments, ACTOR, num_steps=6)
    seen = normalize_observation(state.normalizer, rollout.observation)
    policy = AGENT.policy.apply(state.policy_params, seen)
    assert_close(policy.log_prob(rollout.action), rollout.log_prob, rtol=1e-5)
    assert len(np.unique(rollout.action)) == 2


def test_rows_that_are_no_transitions_count_nowhere_in_an_update():
    """The same data, with garbage in the rows of the resets, give the same update."""
    config = Config(num_envs=4, num_steps=9)
    environments = [counters(AutoresetMode.NEXT_STEP)]
    state = begin(environments)
    after, rollout = collect_on_host(state, environments, ACTOR, num_steps=9)
    spoilt_rows = rollout.weight == 0
    assert spoilt_rows.any()

    def spoil(leaf):
        leaf = leaf.copy()
        leaf[spoilt_rows] = 1e6
        return leaf

    spoilt = rollout.replace(
        observation=spoil(rollout.observation),
        next_observation=spoil(rollout.next_observation),
        reward=spoil(rollout.reward),
    )
    learn = jax.jit(functools.partial(update, agent=AGENT, config=config))
    clean_state, _ = learn(after, rollout)
    spoilt_state, _ = learn(after, spoilt)
    assert_close(clean_state.policy_params, spoilt_state.policy_params)
    assert_close(clean_state.critic_params, spoilt_state.critic_params)
    assert_close(clean_state.normalizer, spoilt_state.normalizer)


@pytest.mark.parametrize("mode", MODES)
def test_value_targets_end_with_the_episode_and_bootstrap_where_it_was_cut(mode):
    """With a critic that reads the time: Σ γᵏ r, and γᴸ V(final) after a truncation."""
    discount = 0.9
    config = Config(num_envs=4, num_steps=12, discount=discount, gae_lambda=1.0)
    reads_time = Network(
        lambda key, observation: {}, lambda _, seen: 10.0 + seen[..., 1]
    )
    agent = AGENT._replace(critic=reads_time)
    environments = [counters(mode)]
    state = begin(environments).replace(
        normalizer=init_normalizer(
            np.zeros((4, 2)), with_observation=False, with_reward=False
        ),
        critic_params={},
    )
    _, rollout = collect_on_host(state, environments, ACTOR, num_steps=12)
    target = estimate_advantages(state, rollout, agent, config).value_target
    for number, length in enumerate(LENGTHS):
        after = 0.0 if number % 2 else 10.0 + length
        expected = []
        for reward in reversed(range(length)):
            after = reward + discount * after
            expected.insert(0, after)
        valid = rollout.weight[:, number] > 0
        first_episode = np.asarray(target)[valid, number][:length]
        np.testing.assert_allclose(first_episode, expected, rtol=1e-6)


def test_every_episode_of_an_evaluation_is_played_once():
    environments = [counters(AutoresetMode.NEXT_STEP)]
    state = begin(environments)
    result = evaluate_on_host(
        jax.random.key(0),
        environments,
        ACTOR,
        state.policy_params,
        state.normalizer,
        greedy=True,
    )
    np.testing.assert_array_equal(result.episode_length, LENGTHS)
    np.testing.assert_array_equal(
        result.episode_return, [n * (n - 1) / 2 for n in LENGTHS]
    )
    assert result.finished.all()


def test_an_evaluation_plays_up_to_the_time_limit_and_not_beyond():
    environment = GymnasiumEnvironment(
        SyncVectorEnv([functools.partial(Long, 0)] * 2), max_episode_steps=8
    )
    state = begin([environment], num_envs=2)
    result = evaluate_on_host(
        jax.random.key(0),
        [environment],
        ACTOR,
        state.policy_params,
        state.normalizer,
        greedy=False,
    )
    assert result.episode_length.tolist() == [8, 8]
    assert result.episode_return.tolist() == [8.0, 8.0]
    assert result.finished.all()


def test_a_policy_of_the_host_is_judged_again_as_after_training(tmp_path):
    values = {"num_envs": 2, "num_steps": 16, "evaluation_episodes": 3}
    train(
        "gymnasium:CartPole-v1",
        total_steps=64,
        output_dir=tmp_path,
        progress=False,
        **values,
    )
    saved = load_policy(tmp_path)
    judged = evaluate_policy(saved, episodes=3)
    assert judged.episode_return.shape == (1, 3)
    assert judged.finished.all()
    np.testing.assert_array_equal(judged.episode_return, judged.episode_length)
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    same_starts = evaluation["greedy"]["mean_per_seed"]  # and greedy: the same episodes
    np.testing.assert_allclose(judged.episode_return.mean(axis=1), same_starts)
    assert "gymnasium" in evaluation["versions"]


class Raising(Counter):
    def step(self, action):
        raise ArithmeticError("a bug of the user's")


class RaisingLater(Counter):
    """Goes on for longer than a run's first chunk."""

    def step(self, action):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps > 200:
            raise ArithmeticError("a late bug")
        return super().step(action)


def test_a_simulator_that_fails_leaves_the_policy_so_far(tmp_path):
    def make(num_envs, seed):
        makers = [functools.partial(RaisingLater, i) for i in range(num_envs)]
        return GymnasiumEnvironment(SyncVectorEnv(makers))

    with pytest.raises(SimulatorError, match="a late bug") as error:
        train(
            make,
            total_steps=16 * 100,
            num_envs=2,
            num_steps=8,
            output_dir=tmp_path,
            progress=False,
        )
    (note,) = error.value.__notes__
    done = int(re.match(r"stopped after (\d+) steps; resume with: trpo", note)[1])
    assert 0 < done < 16 * 100
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == done // 16
    assert (tmp_path / "policy.safetensors").is_file()


class Hanging(Counter):
    def step(self, action):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # will not go when asked
        time.sleep(1000)


class Dying(Counter):
    def step(self, action):
        os._exit(7)


def two_with(kind, second):
    makers = [functools.partial(Counter, 0), functools.partial(second, 1)]
    return GymnasiumEnvironment(kind(makers), timeout=3.0)


def workers(makers):
    return AsyncVectorEnv(makers, context="forkserver")


def act_once(environment):
    environment.send(np.zeros(environment.num_envs, np.int64))
    return environment.receive()


@pytest.mark.parametrize("kind", [SyncVectorEnv, workers])
def test_an_environment_that_raises_shows_its_own_traceback(kind):
    environment = two_with(kind, Raising)
    environment.reset()
    with pytest.raises(SimulatorError, match="a bug of the user's") as error:
        act_once(environment)
    assert "Traceback (most recent call last)" in str(error.value)
    assert "in step" in str(error.value)  # the line where it happened
    environment.close()


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (Hanging, "no answer for 3 seconds"),
        (Dying, "worker process 1 ended with exit code 7"),
        (Raising, "a bug of the user's"),
    ],
)
def test_whatever_becomes_of_a_worker_all_of_them_end(second, said):
    environment = two_with(workers, second)
    processes = environment._vector.processes
    environment.reset()
    with pytest.raises(SimulatorError, match=said):
        act_once(environment)
    environment.close()
    assert not any(process.is_alive() for process in processes)


class HangingInReset(Counter):
    def reset(self, **kwargs):
        time.sleep(1000)


def test_a_worker_that_hangs_in_a_reset_is_not_waited_for():
    made = []

    def remembered(makers):
        made.append(workers(makers))
        return made[0]

    with pytest.raises(SimulatorError, match="no answer for 3 seconds"):
        two_with(remembered, HangingInReset)  # it resets to look for masks
    assert len(made[0].processes) == 2
    assert not any(process.is_alive() for process in made[0].processes)


def test_the_workers_of_a_wrapped_vector_end_too():
    vector = workers([functools.partial(Counter, 0)] * 2)
    environment = GymnasiumEnvironment(
        gymnasium.wrappers.vector.RecordEpisodeStatistics(vector)
    )
    environment.reset()
    environment.close()
    assert len(environment._processes) == 2
    assert not any(process.is_alive() for process in environment._processes)


def test_the_second_reset_starts_other_episodes():
    environment = GymnasiumEnvironment("CartPole-v1", 2, seed=3)
    again = GymnasiumEnvironment("CartPole-v1", 2, seed=3)
    first, second = environment.reset(), environment.reset()
    np.testing.assert_array_equal(first, again.reset())
    assert (first != second).all()


def test_steps_keep_their_numbers_when_the_simulator_overwrites_its_own():
    class Reusing(gymnasium.vector.VectorEnv):
        single_observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
        single_action_space = gymnasium.spaces.Discrete(2)
        metadata: ClassVar = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        num_envs = 2

        def __init__(self):
            self.buffers = [np.zeros((2, 1), np.float32), np.zeros(2, np.float32)]
            self.buffers += [np.zeros(2, bool), np.zeros(2, bool)]

        def reset(self, **kwargs):
            return self.buffers[0], {}

        def step(self, actions):
            self.buffers[1] += 1
            return *self.buffers, {}

    environment = GymnasiumEnvironment(Reusing(), name="reusing", max_episode_steps=7)
    assert environment.name == "gymnasium:reusing"
    assert environment.max_episode_steps == 7
    environment.reset()
    first, second = act_once(environment), act_once(environment)
    assert first.reward.tolist() == [1, 1]
    assert second.reward.tolist() == [2, 2]


def test_a_run_that_cannot_begin_leaves_nothing_behind(tmp_path):
    class Unwilling(Counter):
        def reset(self, **kwargs):
            raise RuntimeError("not today")

    def make(num_envs, seed):
        return GymnasiumEnvironment(SyncVectorEnv([lambda: Unwilling(0)] * num_envs))

    with pytest.raises(SimulatorError, match="not today"):
        train(make, total_steps=256, num_envs=2, num_steps=8, output_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_makers_that_do_not_make_what_they_are_asked_for_are_refused():
    def four(num_envs, seed):
        return counters(AutoresetMode.NEXT_STEP)

    with pytest.raises(ValueError, match=r"make\(num_envs=1, seed\) gave .* of 4"):
        train(four, total_steps=256)
    with pytest.raises(ValueError, match="object lacks name, observation_space"):
        check_host_environment(object(), 1)


def test_training_on_the_host_is_collection_and_update_in_a_row():
    config = Config(num_envs=4, num_steps=8, critic_epochs=3, critic_minibatch_size=8)

    def make(num_envs, seed):
        return GymnasiumEnvironment("CartPole-v1", num_envs, seed)

    values = {"agent": AGENT_OF_CARTPOLE, "progress": False, "seed": 5}
    values |= dataclasses.asdict(config)
    values |= {"total_steps": 4 * 8 * 3, "evaluation_episodes": 1}
    result = train(make, **values)

    one = make(1, 0)
    environments = [make(4, 5 * 1_000_003)]
    _, *keys = jax.random.split(jax.random.fold_in(jax.random.key(5), 0), 4)
    observation = environments[0].reset()
    agent, space = AGENT_OF_CARTPOLE, one.observation_space
    state = first_state(keys, (), observation, space, agent, config)
    actor = Actor(agent)
    learn = jax.jit(lambda state, rollout: update(state, rollout, agent, config)[0])
    for _ in range(3):
        state, rollout = collect_on_host(state, environments, actor, num_steps=8)
        state = learn(state, rollout)
    trained = jax.tree.map(lambda leaf: leaf[0], result.state)
    for name in ("policy_params", "critic_params", "critic_optimizer_state"):
        jax.tree.map(
            lambda a, b: assert_close(a, b, rtol=1e-4, atol=1e-5),
            getattr(trained, name),
            getattr(state, name),
        )
    assert int(trained.iteration) == 3


def test_programs_begin_again_with_simulators_of_their_own():
    def make(num_envs, seed):
        return GymnasiumEnvironment("CartPole-v1", num_envs, seed)

    plan = make_plan("gymnasium:CartPole-v1", total_steps=64, num_envs=4, num_steps=8)
    programs = HostPrograms(plan, make, make(1, 0), AGENT_OF_CARTPOLE)
    logs = []
    for _ in range(2):
        states = programs.init(seeds_of(plan))
        logs.append(programs.chunk(states, np.int32(plan.chunk))[1])
    programs.close()
    np.testing.assert_array_equal(*logs)


def test_training_ends_its_workers_when_one_fails():
    made = []

    def make(num_envs, seed):
        kinds = (Counter, Raising, Counter, Counter)[:num_envs]
        makers = [functools.partial(kind, i) for i, kind in enumerate(kinds)]
        made.append(GymnasiumEnvironment(workers(makers)))
        return made[-1]

    with pytest.raises(SimulatorError, match="a bug of the user's"):
        train(make, total_steps=64, num_envs=4, num_steps=8, progress=False)
    processes = [p for each in made for p in each._vector.processes]
    assert len(made) >= 3  # two for their spaces, others to train in
    assert not any(process.is_alive() for process in processes)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="nearest: 'CartPole-v1'"):
        GymnasiumEnvironment("CartPole-v7")


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (gymnasium.spaces.Discrete(3), Discrete(3)),
        (
            gymnasium.spaces.Box(-1, 2, (2,), np.float64),
            Box.uniform((2,), -1.0, 2.0),
        ),
        (
            gymnasium.spaces.Box(0, 255, (4, 8, 8), np.uint8),
            Box((4, 8, 8), (0.0,) * 256, (255.0,) * 256, "uint8"),
        ),
    ],
)
def test_spaces_come_over(space, expected):
    assert convert_space("x", "observation", space) == expected


@pytest.mark.parametrize(
    "space",
    [gymnasium.spaces.Text(3), gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(2))],
)
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match=r"x: action space .* is not supported"):
        convert_space("x", "action", space)


def test_actions_are_in_units_of_the_box():
    box = Box((2,), (-2.0, 0.0), (2.0, 1.0))
    action = np.array([[0.0, 0.0], [-5.0, 5.0], [0.5, -1.0]], np.float32)
    expected = [[0.0, 0.5], [-2.0, 1.0], [1.0, 0.0]]
    np.testing.assert_allclose(convert_action(box, action), expected)
    free = Box.uniform((2,))
    np.testing.assert_array_equal(convert_action(free, action), action)


def test_dictionaries_stay_dictionaries_and_the_network_makes_a_vector():
    box = gymnasium.spaces.Box
    space = gymnasium.spaces.Dict(
        {
            "b": box(-1, 1, (2,), np.float64),
            "a": gymnasium.spaces.Dict({"inner": box(0, 9, (1, 2), np.int32)}),
            "c": gymnasium.spaces.Discrete(3),
        }
    )
    converted, convert = convert_observations("x", space)
    inner = Box((1, 2), (0.0, 0.0), (9.0, 9.0), "int32")
    parts = {"a": Dict({"inner": inner}), "b": Box.uniform((2,), -1, 1)}
    assert converted == Dict({**parts, "c": Discrete(3)})
    batch = {
        "b": np.array([[0.5, -0.5], [1.0, 0.0]]),
        "a": {"inner": np.array([[[1, 2]], [[3, 4]]])},
        "c": np.array([2, 0]),
    }
    result = convert(batch)
    types = jax.tree.map(lambda leaf: leaf.dtype.name, result)
    assert types == {"a": {"inner": "int32"}, "b": "float32", "c": "int32"}
    vector = flatten_observation(converted, jax.tree.map(jax.numpy.asarray, result))
    expected = [[1, 2, 0.5, -0.5, 0, 0, 1], [3, 4, 1.0, 0.0, 1, 0, 0]]
    np.testing.assert_array_equal(vector, expected)


def test_a_dictionary_of_anything_else_is_refused():
    space = gymnasium.spaces.Dict({"n": gymnasium.spaces.Text(3)})
    with pytest.raises(ValueError, match=r"x\['n'\]: observation space Text"):
        convert_observations("x", space)


class Images(gymnasium.Env):
    """What is seen is the time, in every pixel; four bright ones a step."""

    observation_space = gymnasium.spaces.Box(0, 255, (3, 4, 2), np.uint8)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (2, 1), np.float32)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.full((3, 4, 2), 200, np.uint8), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        return np.full((3, 4, 2), 200 + self.time, np.uint8), 1.0, self.time == 5, 0, {}


def test_images_and_shaped_actions_pass_through_unharmed():
    def make(num_envs, seed):
        return GymnasiumEnvironment(SyncVectorEnv([Images] * num_envs))

    environment = make(2, 0)
    assert environment.observation_space.dtype == "uint8"
    first = environment.reset()
    environment.send(np.zeros((2, 2), np.float32))
    step = environment.receive()
    assert first.dtype == step.observation.dtype == np.uint8
    assert (first == 200).all()
    assert (step.next_observation == 201).all()
    result = train(make, total_steps=64, num_envs=4, num_steps=8, progress=False)
    assert result.evaluation["greedy"]["mean_per_seed"] == [5.0]
    assert np.isfinite(result.metrics.kl).all()


def test_a_step_has_the_fields_of_the_contract():
    environment = counters(AutoresetMode.NEXT_STEP)
    environment.reset()
    environment.send(np.zeros(4, np.int32))
    step = environment.receive()
    kinds = HostStep(*(leaf.dtype for leaf in step))
    assert kinds == (np.float32, np.float32, np.float32, bool, bool, bool)
    assert all(len(leaf) == 4 for leaf in step)


class Long(Counter):
    """Every episode is truncated after eight steps."""

    def step(self, action):
        self.time += 1
        return self._observe(), 1.0, False, self.time == 8, {}


@pytest.mark.parametrize("mode", MODES)
def test_a_shorter_time_limit_truncates_and_starts_again(mode):
    environments = [counters(mode)]  # the longest episodes have 3, 5, 4 and 2 steps
    state = begin(environments)
    _, rollout = collect_on_host(state, environments, ACTOR, num_steps=12, time_limit=3)
    for number, length in enumerate(LENGTHS):
        rows = transitions(rollout, number)
        expected = np.arange(len(rows.reward)) % min(length, 3)
        np.testing.assert_array_equal(rows.observation[:, 1], expected)
        np.testing.assert_array_equal(rows.next_observation[:, 1], expected + 1)
        over = expected + 1 == min(length, 3)
        at_the_end = length <= 3 and number % 2  # of the environment itself
        np.testing.assert_array_equal(rows.terminated, over & bool(at_the_end))
        assert (rows.terminated | rows.truncated)[over].all()
        assert not rows.truncated[~over].any()


@pytest.mark.parametrize("mode", MODES)
def test_staggered_starts_cut_first_episodes_at_shares_of_the_limit(mode):
    environments = [
        GymnasiumEnvironment(
            SyncVectorEnv([functools.partial(Long, 0)] * 2, autoreset_mode=mode)
        )
        for _ in range(2)
    ]
    for environment in environments:
        environment.max_episode_steps = 8
    state = begin(environments)
    parts = []
    for _ in range(5):
        state, rollout = collect_on_host(
            state, environments, ACTOR, num_steps=5, stagger_starts=True
        )
        state = state.replace(iteration=state.iteration + 1)
        parts.append(rollout.replace(policy_version=None))
    both = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    for number, first in enumerate((2, 4, 6, 8)):
        rows = transitions(both, number)
        ends = np.flatnonzero(rows.truncated)
        np.testing.assert_array_equal(ends[:2], [first - 1, first + 7])
        np.testing.assert_array_equal(rows.next_observation[ends, 1][:2], [first, 8])
        np.testing.assert_array_equal(rows.observation[ends + 1, 1][:2], [0, 0])
        assert not rows.terminated.any()

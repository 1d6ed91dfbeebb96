import dataclasses
import json
import pathlib
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, differ, is_finite

from trpo_jax import (
    Agent,
    Box,
    Categorical,
    Discrete,
    Network,
    Step,
    default_agent,
    train,
)
from trpo_jax.algorithm import evaluation
from trpo_jax.runs import execute, programs, self_check
from trpo_jax.solver.trust_region import Status

pytestmark = pytest.mark.usefixtures("quick_compilation")


# 51 iterations in chunks of two: the last chunk has one iteration.
ITERATIONS, BATCH = 51, 16
RUN = {
    "total_steps": ITERATIONS * BATCH + 3,
    "num_envs": 2,
    "num_steps": 8,
    "hidden_sizes": (),
    "evaluation_episodes": 3,
    "progress": False,
}


@pytest.fixture(scope="module")
def together():
    """Seeds 7 and 8 in one program."""
    return train("CartPole-v1", seed=7, seeds=2, **RUN)


@pytest.fixture(scope="module")
def alone():
    """Seed 8."""
    return train("CartPole-v1", seed=8, **RUN)


def test_every_array_leads_with_the_seed(together):
    for column in together.metrics:
        assert column.shape == (2, ITERATIONS)
    for leaf in jax.tree.leaves(together.state):
        assert leaf.shape[0] == 2


def test_a_remainder_of_a_chunk_runs_the_iterations_that_are_left(together, alone):
    assert together.plan.chunk == 2
    np.testing.assert_array_equal(together.state.iteration, [ITERATIONS, ITERATIONS])
    np.testing.assert_array_equal(alone.state.iteration, [ITERATIONS])
    for column in together.metrics.entropy, together.metrics.gradient_norm:
        assert (column[:, -1] > 0).all()


def test_metrics_obey_the_trust_region(together):
    metrics = together.metrics
    accepted = metrics.status == Status.ACCEPTED
    assert accepted.any()
    assert (metrics.kl[accepted] <= together.plan.config.max_kl).all()
    assert (metrics.improvement[accepted] > 0).all()
    assert (metrics.kl[~accepted] == 0).all()
    assert (metrics.episodes.sum(axis=1) > 0).all()
    assert is_finite((together.state.policy_params, together.state.critic_params))


def test_a_seed_among_others_runs_as_it_does_alone(together, alone):
    few = 4  # rounding differs between the two programs, and trajectories diverge
    for name in ("episodes", "entropy", "kl", "gradient_norm", "critic_loss"):
        np.testing.assert_allclose(
            getattr(together.metrics, name)[1, :few],
            getattr(alone.metrics, name)[0, :few],
            rtol=1e-2,
            atol=1e-5,
            err_msg=name,
        )


@pytest.mark.parametrize(
    ("cores", "largest"), [(1, 16), (2, 16), (5, 16), (1, 2), (2, 1)]
)
def test_seeds_run_as_alone_however_they_are_divided(cores, largest, monkeypatch):
    """One group of 3, one of 2 and one of 1 filled up, 3 of 1; 2 and 1; 3 of 1."""
    monkeypatch.setattr(programs, "cores", lambda: cores)
    monkeypatch.setattr(programs, "LARGEST_GROUP", largest)
    values = {"total_steps": 96, "num_envs": 4, "num_steps": 8, "progress": False}
    values["evaluation_episodes"] = 2
    shared = train("probe:policy", seeds=3, seed=5, **values)
    lone = train("probe:policy", seeds=1, seed=7, **values)
    assert shared.metrics.kl.shape == (3, 3)
    assert len(shared.evaluation["greedy"]["mean_per_seed"]) == 3
    np.testing.assert_allclose(
        shared.metrics.critic_loss[2], lone.metrics.critic_loss[0], rtol=1e-4
    )
    last = jax.tree.map(lambda leaf: leaf[2:], shared.state.policy_params)
    assert_close(last, lone.state.policy_params, rtol=1e-3, atol=1e-5)
    assert len({*np.asarray(shared.metrics.critic_loss[:, 0]).tolist()}) == 3


def test_the_same_seed_gives_the_same_run(alone):
    again = train("CartPole-v1", seed=8, **RUN)
    assert_identical(again.metrics, alone.metrics)
    assert_identical(again.state, alone.state)
    for how in ("greedy", "sampled"):
        assert again.evaluation[how] == alone.evaluation[how]


def test_different_seeds_give_different_runs(together):
    first, second = (
        jax.tree.map(lambda x, k=k: x[k], together.state.policy_params) for k in (0, 1)
    )
    assert differ(first, second)
    assert (together.metrics.entropy[0] != together.metrics.entropy[1]).any()


def test_the_evaluation_is_plain_json(together):
    text = json.dumps(together.evaluation, allow_nan=False)
    assert json.loads(text) == together.evaluation


ONE_NUMBER, TWO_ACTIONS = Box.uniform((1,)), Discrete(2)


class Position(NamedTuple):
    place: jax.Array
    time: jax.Array


@dataclasses.dataclass(frozen=True)
class Line:
    """A user's own environment: a step to the right is worth 1; six steps."""

    name: str = "my line"
    observation_space: Box = ONE_NUMBER
    action_space: Discrete = TWO_ACTIONS
    max_episode_steps: int = 6

    def reset(self, key):
        del key
        return Position(jnp.float32(0), jnp.int32(0)), jnp.zeros(1)

    def step(self, key, env_state, action):
        del key
        move = jnp.where(action == 1, 1.0, -1.0)
        after = Position(env_state.place + move, env_state.time + 1)
        return Step(
            after,
            after.place[None],
            reward=move,
            terminated=jnp.bool_(False),
            truncated=after.time >= self.max_episode_steps,
        )


class CountingAgent:
    """A user's own agent, which counts how often its policy is traced."""

    def __init__(self):
        self.traces = 0

    def act(self, params, observation):
        self.traces += 1
        logits = params["logits"]
        return Categorical(jnp.broadcast_to(logits, (*observation.shape[:-1], 2)))

    def networks(self):
        return Agent(
            policy=Network(lambda key, observation: {"logits": jnp.zeros(2)}, self.act),
            critic=Network(
                lambda key, observation: jnp.zeros(()),
                lambda params, observation: jnp.broadcast_to(
                    params, observation.shape[:-1]
                ),
            ),
        )


OWN = {
    "num_envs": 4,
    "num_steps": 12,
    "evaluation_episodes": 2,
    "max_kl": 0.1,
    "progress": False,
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Runs of 3 and of 26 chunks, both in an empty working directory."""
    results, traces = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("own"))
        for chunks in (3, 26):
            agent = CountingAgent()
            results.append(
                train(Line(), agent=agent.networks(), total_steps=48 * chunks, **OWN)
            )
            traces.append(agent.traces)
        left = list(pathlib.Path.cwd().iterdir())
    return results, traces, left


def test_your_own_environment_and_agent_learn(own):
    (short, long), _, _ = own
    assert long.evaluation["environment"] == "my line"
    assert long.evaluation["greedy"] == {
        "mean_per_seed": [6.0],
        "iqm": 6.0,
        "ci95": [6.0, 6.0],
    }
    assert set(long.state.policy_params) == {"logits"}
    assert long.metrics.episode_return[0, -1] > long.metrics.episode_return[0, 0]
    np.testing.assert_array_equal(long.metrics.episodes, 8)
    np.testing.assert_array_equal(short.metrics.episode_length, 6)


def test_the_policy_is_traced_once_a_configuration_not_once_a_chunk(own):
    (short, long), traces, _ = own
    assert short.plan.chunk == long.plan.chunk == 1
    assert traces[0] == traces[1] > 0


def test_a_longer_run_begins_as_the_shorter_one(own):
    (short, long), _, _ = own
    assert_identical(
        jax.tree.map(lambda x: np.ascontiguousarray(x[:, :3]), long.metrics),
        jax.tree.map(np.ascontiguousarray, short.metrics),
    )


def test_without_an_output_directory_nothing_is_written(own):
    _, _, left = own
    assert left == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_kll": 0.1}, "unknown option 'max_kll'; nearest: 'max_kl'"),
        ({"n_steps": 5}, "unknown option 'n_steps'; nearest: 'num_steps'"),
        ({"max_kl_final": 0.5}, "'max_kl_final' is now final_max_kl, in nats"),
        ({"max_kl": 0}, "max_kl must be a finite number > 0 .*; got 0"),
        ({"seeds": 0}, "seeds must be an integer >= 1 .*; got 0"),
        ({"seed": -1}, "seed must be an integer >= 0 .*; got -1"),
        ({"seeds": True}, "seeds must be an integer >= 1 .*; got True"),
        ({"total_steps": 1e5}, "total_steps must be an integer >= 1 .*; got 100000.0"),
        ({"total_steps": 7}, "total_steps must be >= one batch"),
        ({"evaluation_episodes": 0}, "evaluation_episodes must be an integer >= 1"),
        ({"activation": "tahn"}, "activation must be one of tanh.*; got 'tahn'"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_written(values, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train("CartPole-v1", output_dir=tmp_path / "run", progress=False, **values)
    assert list(tmp_path.iterdir()) == []


def test_your_own_parts_are_checked_before_anything_is_compiled():
    three = default_agent(Line().observation_space, Discrete(3))
    with pytest.raises(ValueError, match="among 2 actions; it has 3 logits"):
        train(Line(), agent=three, **OWN)
    with pytest.raises(ValueError, match="an environment must have 'name'"):
        train(3, **OWN)


class Endless(Line):
    """No episode ever ends, and the reward is not a number now and then."""

    max_episode_steps = None

    def __init__(self, reward):
        self._reward = reward

    def step(self, key, env_state, action):
        step = Line().step(key, env_state, action)
        return step._replace(reward=jnp.float32(self._reward), truncated=jnp.bool_(0))


@pytest.mark.parametrize("reward", [1.0, np.nan])
def test_an_evaluation_says_what_did_not_end_and_what_is_no_number(
    reward, monkeypatch, tmp_path
):
    monkeypatch.setattr(evaluation, "STEP_LIMIT", 9)
    result = train(
        Endless(reward), total_steps=48, output_dir=tmp_path / "endless", **OWN
    )
    text = (tmp_path / "endless" / "evaluation.json").read_text()
    written = json.loads(text, parse_constant=pytest.fail)
    assert written == result.evaluation
    assert written["unfinished_episodes"] == 2 * OWN["evaluation_episodes"]
    score = None if np.isnan(reward) else 9.0
    assert written["greedy"]["iqm"] == score
    assert written["greedy"]["mean_per_seed"] == [score]


class Bursting(Line):
    def step(self, key, env_state, action):
        raise RuntimeError("a typo of the user")


def test_a_run_that_could_not_begin_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="a typo of the user"):
        train(Bursting(), output_dir=tmp_path / "run", total_steps=48, **OWN)
    assert list(tmp_path.iterdir()) == []


def test_of_two_runs_in_one_directory_the_second_is_refused(tmp_path, monkeypatch):
    def overtaken(*args):
        (tmp_path / "config.json").touch()
        return types.SimpleNamespace(init=lambda seeds: (), close=lambda: None)

    monkeypatch.setattr(execute, "CompiledPrograms", overtaken)
    with pytest.raises(ValueError, match="has just been taken by another run"):
        train(Line(), output_dir=tmp_path, total_steps=48, **OWN)
    assert (tmp_path / "config.json").read_text() == ""


def test_an_unknown_environment_is_refused():
    with pytest.raises(ValueError, match=r"'CartPole'; nearest: 'CartPole-v1'"):
        train("CartPole", progress=False)


def test_a_compiler_that_computes_wrong_numbers_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        self_check, "self_check", lambda: [self_check.Check("a sum", 1.0, 2.0)]
    )
    with pytest.raises(RuntimeError, match=r"a sum gives 1\.0, not 2\.0"):
        train("CartPole-v1", output_dir=tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_network_options_beside_your_own_agent_are_refused():
    agent = Agent(Network(None, None), Network(None, None))
    with pytest.raises(ValueError, match="leave out hidden_sizes"):
        train("CartPole-v1", agent=agent, hidden_sizes=(8,))


def test_your_own_environment_does_not_inherit_a_preset_by_its_name():
    from trpo_jax.runs.plan import make_plan

    plan = make_plan("CartPole-v1", known_environment=False)
    defaults = type(plan.config)()
    assert plan.config == dataclasses.replace(
        defaults,
        fisher_fraction=defaults.fraction_in_products(defaults.batch_size),
        critic_minibatch_size=defaults.minibatch_of(defaults.batch_size),
    )


def test_a_mode_that_is_given_replaces_what_the_preset_had_for_another():
    from trpo_jax.runs.plan import make_plan

    plan = make_plan("gymnasium:HalfCheetah-v5", critic_method="gauss_newton")
    assert (plan.config.critic_epochs, plan.config.critic_minibatch_size) == (10, None)
    assert plan.config.max_kl == 0.06
    with pytest.raises(ValueError, match="critic_epochs is used with critic_method"):
        make_plan("CartPole-v1", critic_method="gauss_newton", critic_epochs=3)


def test_a_run_of_version_0_1_is_refused_in_one_line(tmp_path):
    from trpo_jax.runs.results import read_plan

    content = {"environment": "probe:action", "seeds": 1, "config": {}, "network": {}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"written by trpo_jax 0\.1; install that"):
        read_plan(tmp_path)

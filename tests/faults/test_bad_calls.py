"""Mistaken calls from Python: a `ValueError` of one line, with what may be given."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trpo_jax
from trpo_jax import Config, NetworkConfig
from trpo_jax.environments import make_host_environment
from trpo_jax.storage import checkpoint

NAN = float("nan")
HERE = pathlib.Path(__file__)


def train(*args, **values):
    return trpo_jax.train(*args, progress=False, **values)


def state_of():
    environment = trpo_jax.make_environment("CartPole-v1")
    agent = trpo_jax.default_agent(
        environment.observation_space, environment.action_space
    )
    config = Config(num_envs=2)
    return trpo_jax.init(jax.random.key(0), environment, agent, config), agent, config


def update_with_a_critic_of_two_values():
    state, agent, config = state_of()
    environment = trpo_jax.make_environment("CartPole-v1")
    state, rollout = trpo_jax.collect(state, environment, agent, num_steps=2)
    twice = trpo_jax.Network(agent.critic.init, lambda p, o: o[..., :2])
    trpo_jax.update(state, rollout, trpo_jax.Agent(agent.policy, twice), config)


ONE, NO = jnp.ones(3), jnp.zeros(3, bool)
CALLS = {
    # numbers
    "max_kl=0": (lambda: Config(max_kl=0), "max_kl must be a finite number > 0"),
    "max_kl=nan": (lambda: Config(max_kl=NAN), "max_kl must be"),
    "max_kl='a'": (lambda: Config(max_kl="a"), "max_kl must be"),
    "max_kl=None": (lambda: Config(max_kl=None), "max_kl must be"),
    "max_kl=[0.1]": (lambda: Config(max_kl=[0.1]), "max_kl must be"),
    "max_kl=array with 0": (lambda: Config(max_kl=np.array([1, 0])), "max_kl must be"),
    "discount=1.1": (lambda: Config(discount=1.1), "discount must be a number in"),
    "gae_lambda=-1": (lambda: Config(gae_lambda=-1), "gae_lambda must be a number in"),
    "num_envs=0": (lambda: Config(num_envs=0), "num_envs must be an integer >= 1"),
    "num_envs=True": (lambda: Config(num_envs=True), "num_envs must be an integer"),
    "num_envs=1.0": (lambda: Config(num_envs=1.0), "num_envs must be an integer"),
    "num_envs=10^30": (lambda: Config(num_envs=10**30), "num_envs must be an integer"),
    "fisher_fraction=0": (lambda: Config(fisher_fraction=0), "fisher_fraction must be"),
    "step_rule='adam'": (lambda: Config(step_rule="adam"), "must be one of trust_reg"),
    "kl_constraint=1": (lambda: Config(kl_constraint=1), "must be one of mean, max"),
    "a value without use": (
        lambda: Config(critic_method="gauss_newton", critic_epochs=3), "adam only",
    ),
    "an old name": (lambda: train("CartPole-v1", method="trpo"), "is now step_rule"),
    "sampling=['vine']": (lambda: Config(sampling=["vine"]), "sampling must be one of"),
    "scale_reward=1": (lambda: Config(scale_reward=1), "scale_reward must be True or"),
    "hidden_sizes=8": (lambda: NetworkConfig(hidden_sizes=8), "hidden_sizes must be"),
    "hidden_sizes=(0,)": (lambda: NetworkConfig(hidden_sizes=(0,)), "hidden_sizes"),
    "activation": (lambda: NetworkConfig(activation="x"), "activation must be one of"),
    # training
    "no such environment": (lambda: train("CartPole-v7"), "nearest: 'CartPole-v1'"),
    "no such simulator": (lambda: train("gym:CartPole-v1"), "'gym'"),
    "a misspelt value": (lambda: train("CartPole-v1", max_kll=1), "max_kll"),
    "a swept value": (lambda: train("CartPole-v1", max_kl=np.ones(2)), "one value"),
    "too few steps": (lambda: train("CartPole-v1", total_steps=9), "one batch"),
    "steps of text": (lambda: train("CartPole-v1", total_steps="9"), "total_steps"),
    "no seeds": (lambda: train("CartPole-v1", seeds=0), "seeds must be"),
    "seeds beyond": (
        lambda: train("CartPole-v1", seed=2**31 - 1, seeds=2), "seed + seeds",
    ),
    "a file as directory": (
        lambda: train("CartPole-v1", output_dir=HERE), "output_dir must be a directory",
    ),
    "an occupied directory": (
        lambda: train("CartPole-v1", output_dir=HERE.parent), "new or empty",
    ),
    "checkpoint_every=-1": (
        lambda: train("CartPole-v1", checkpoint_every=-1), "checkpoint_every must be",
    ),
    "keep=0": (lambda: train("CartPole-v1", keep=0), "keep must be an integer >= 1"),
    "on_checkpoint_error": (
        lambda: train("CartPole-v1", on_checkpoint_error="x"), "one of continue, stop",
    ),
    "a vine without snapshots": (
        lambda: train("gymnasium:CartPole-v1", sampling="vine"), "single_path",
    ),
    "a vine of uniform actions": (
        lambda: train("Pendulum-v1", sampling="vine", vine_proposal="uniform"),
        "vine_proposal must be policy",
    ),
    "a spread of discrete actions": (
        lambda: train("CartPole-v1", log_std_init=-1.0), "must be left out",
    ),
    "no rows for products": (
        lambda: train("CartPole-v1", fisher_fraction=1e-9), "must leave at least one",
    ),
    "a time limit inside": (
        lambda: train("CartPole-v1", simulator_timeout=1.0), "must be 0",
    ),
    "a time limit of text": (
        lambda: train("gymnasium:CartPole-v1", simulator_timeout="1"), "finite",
    ),
    "a directory that is a number": (
        lambda: train("CartPole-v1", output_dir=3), "output_dir must be the name",
    ),
    "held actions on the host": (
        lambda: train("gymnasium:CartPole-v1", action_repeat=2), "action_repeat must",
    ),
    "network and agent": (
        lambda: train("CartPole-v1", agent=state_of()[1], hidden_sizes=(8,)),
        "leave out hidden_sizes",
    ),
    "an environment that is none": (lambda: train(object()), "object"),
    # functions
    "no steps": (
        lambda: trpo_jax.collect(
            state_of()[0], trpo_jax.make_environment("CartPole-v1"), state_of()[1],
            num_steps=0,
        ),
        "num_steps must be",
    ),
    "shapes of advantages": (
        lambda: trpo_jax.advantages(
            ONE, ONE, ONE[:2], NO, NO, discount=0.9, gae_lambda=1.0
        ),
        "one shape",
    ),
    "a critic of two values": (update_with_a_critic_of_two_values, "one"),
    "rows of a distribution": (
        lambda: trpo_jax.fisher_vector_product(
            lambda p: trpo_jax.DiagonalGaussian(p[None] * jnp.ones((3, 1)), p[None]),
            jnp.zeros(1),
        ),
        "rows on its leading axis",
    ),
    "iterations of a solve": (
        lambda: trpo_jax.cg_solve(lambda v: v, ONE, iterations=-1), "iterations must",
    ),
    "backtrack_coefficient": (
        lambda: trpo_jax.line_search(
            jnp.sum, jnp.sum, ONE, ONE, max_divergence=1.0, backtrack_coefficient=1.0
        ),
        "backtrack_coefficient must be a number in (0, 1)",
    ),
    "concatenate nothing": (
        lambda: trpo_jax.concatenate_batches([], []), "at least one",
    ),
    "a host's environment": (
        lambda: make_host_environment("gymnax:CartPole-v1"), "use make_environment",
    ),
    "a compiled environment": (
        lambda: trpo_jax.make_environment("gymnasium:CartPole-v1"), "host",
    ),
    "no policy": (lambda: trpo_jax.load_policy(HERE), "does not hold a policy"),
    # runs and checkpoints
    "resume nothing": (lambda: trpo_jax.resume("nowhere"), "nowhere holds no run"),
    "restore nothing": (
        lambda: checkpoint.restore("nowhere", ONE), "there is no checkpoint in nowhere",
    ),
    "a step below zero": (
        lambda: checkpoint.save("nowhere", ONE, step=-1), "step must be an integer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_a_mistake_is_one_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, needle = CALLS[case]
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert needle in message
    assert "\n" not in message
    assert not any(tmp_path.iterdir())


def test_there_are_as_many_as_promised():
    assert len(CALLS) >= 40

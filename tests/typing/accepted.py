"""What a user may write: both type checkers accept it and infer these types."""

from typing import assert_type

import jax

import trpo_jax
from trpo_jax import (
    Agent,
    Batch,
    Config,
    Environment,
    Metrics,
    NetworkConfig,
    PolicyInfo,
    Rollout,
    Status,
    TrainResult,
    TrainState,
    UpdateInfo,
    advantages,
    cg_solve,
    collect,
    default_agent,
    init,
    make_environment,
    train,
    train_step,
    update,
    update_from_batch,
)

config = Config(max_kl=0.02, num_envs=8, kl_constraint="max")
network = NetworkConfig(hidden_sizes=(64, 64), activation="relu")
environment = make_environment("CartPole-v1")
assert_type(environment, Environment)
agent = default_agent(environment.observation_space, environment.action_space)
assert_type(agent, Agent)
state = init(jax.random.key(0), environment, agent, config)
assert_type(state, TrainState)
state, rollout = collect(state, environment, agent, num_steps=128)
assert_type(rollout, Rollout)
state, info = update(state, rollout, agent, config)
assert_type(info, UpdateInfo)
assert_type(info.policy, PolicyInfo)
assert_type(info.policy.kl, jax.Array)
state, metrics = train_step(state, environment, agent, config)
assert_type(metrics, Metrics)
batch = trpo_jax.estimate_advantages(state, rollout, agent, config)
assert_type(batch, Batch)
state, info = update_from_batch(state, batch, agent, config)

advantage, target = advantages(
    rollout.reward,
    rollout.reward,
    rollout.reward,
    rollout.terminated,
    rollout.truncated,
    discount=0.99,
    gae_lambda=0.95,
)
assert_type(advantage, jax.Array)
_, cg_info = cg_solve(lambda v: v, advantage, iterations=3)
assert_type(cg_info.residual, jax.Array)
assert_type(Status(0).advice, str)

result = train("CartPole-v1", total_steps=4096, seeds=2, max_kl=0.02, progress=False)
assert_type(result, TrainResult)
assert_type(trpo_jax.resume("runs/eight", total_steps=8192), TrainResult)
policy = trpo_jax.load_policy("runs/eight", agent=agent)
assert_type(policy, trpo_jax.SavedPolicy)
policy.act([0.0] * 4, agent="best", greedy=False, key=3)
assert_type(trpo_jax.evaluate_policy(policy, episodes=3), trpo_jax.Evaluation)

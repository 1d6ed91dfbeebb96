"""What a user may not write: both type checkers refuse each line that says so."""

import jax

from trpo_jax import Config, NetworkConfig, default_agent, train, update
from trpo_jax import proximal_clip  # refused

train("CartPole-v1", total_stepz=3)  # refused
train("CartPole-v1", total_steps="many")  # refused
train("CartPole-v1", kl_constraint="median")  # refused
train(3)  # refused
Config(max_kll=1)  # refused
Config(step_rule="ppo")  # refused
Config(num_envs=1.5)  # refused
NetworkConfig(activation="tahn")  # refused
default_agent()  # refused
update(jax.random.key(0))  # refused
Config().max_kll  # refused

"""Train until solved with sb3: `solve_sb3.py trpo|ppo ENVIRONMENT SEED GOAL STARTED`.

Presets: https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/trpo.yml and ppo.yml.
After every update 100 greedy episodes are played while the clocks stand still. Prints
one line of JSON: the steps and seconds until their mean reached the goal, or null if
that did not happen within the steps of the preset. With the goal `inf` they are played
only at the end, and the seconds are those of all steps.
"""

import json
import math
import sys
import time

from greedy_episodes import greedy_return
from sb3_contrib import TRPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

SDE = {"use_sde": True, "sde_sample_freq": 4}
PRESETS = {  # environments, steps, normalisation, options
    ("trpo", "CartPole-v1"): (
        2, 100_000, False,
        {
            "n_steps": 512, "batch_size": 512, "cg_damping": 1e-3, "gae_lambda": 0.98,
            "gamma": 0.99, "learning_rate": 1e-3, "n_critic_updates": 20,
        },
    ),
    ("trpo", "Acrobot-v1"): (2, 100_000, True, {"n_steps": 1024}),
    ("trpo", "Pendulum-v1"): (
        2, 100_000, False,
        {"n_steps": 1024, "gamma": 0.9, "n_critic_updates": 15, **SDE},
    ),
    ("ppo", "CartPole-v1"): (
        8, 100_000, False,
        {
            "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98,
            "n_epochs": 20, "ent_coef": 0.0,
            "learning_rate": lambda left: 0.001 * left,
            "clip_range": lambda left: 0.2 * left,
        },
    ),
    ("ppo", "Acrobot-v1"): (
        16, 1_000_000, True,
        {
            "n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4,
            "ent_coef": 0.0,
        },
    ),
    ("ppo", "Pendulum-v1"): (
        4, 100_000, False,
        {
            "n_steps": 1024, "gae_lambda": 0.95, "gamma": 0.9, "n_epochs": 10,
            "ent_coef": 0.0, "learning_rate": 1e-3, "clip_range": 0.2, **SDE,
        },
    ),
}  # fmt: skip


def greedy_of(model):
    """Return the greedy policy of a model, as a function."""
    normalize = model.get_vec_normalize_env()

    def act(observation):
        seen = normalize.normalize_obs(observation) if normalize else observation
        return model.predict(seen, deterministic=True)[0]

    return act


class Evaluation(BaseCallback):
    """Evaluates before each rollout, off the clock, and ends training when solved."""

    def __init__(self, name, goal, started):
        super().__init__()
        self.name, self.goal, self.started = name, goal, started
        self.paused, self.solved = 0.0, None

    def _on_training_start(self):
        self.began = time.time()

    def _on_rollout_start(self):
        if self.goal < math.inf:
            self.evaluate()

    def evaluate(self):
        """Play greedy episodes off the clock."""
        now = time.time()
        if self.num_timesteps and not self.solved:
            greedy = greedy_return(self.name, greedy_of(self.model))
            if greedy >= self.goal or self.goal == math.inf:
                self.solved = {
                    "steps": self.num_timesteps,
                    "train_seconds": round(now - self.began - self.paused, 3),
                    "wall_seconds": round(now - self.started - self.paused, 3),
                    "greedy": float(greedy),
                }
        self.paused += time.time() - now

    def _on_step(self):
        return self.solved is None


def main(algorithm, name, seed, goal, started):
    """Train and print."""
    num_envs, steps, normalize, options = PRESETS[algorithm, name]
    environments = make_vec_env(name, num_envs, seed=seed)
    if normalize:
        environments = VecNormalize(environments, gamma=options.get("gamma", 0.99))
    kind = {"trpo": TRPO, "ppo": PPO}[algorithm]
    model = kind("MlpPolicy", environments, seed=seed, device="cpu", **options)
    evaluation = Evaluation(name, goal, started)
    model.learn(steps, callback=evaluation)
    evaluation.evaluate()
    unsolved = {"steps": None, "train_seconds": None, "wall_seconds": None}
    print(json.dumps(evaluation.solved or unsolved))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:]))

"""sb3-contrib's TRPO with rl-zoo3's published preset: `sb3_trpo.py ENVIRONMENT STEPS`.

Prints one line of JSON: the environment steps per second of `learn`, no evaluation.
Needs a virtual environment with sb3-contrib and gymnasium[mujoco], without trpo_jax.
"""

import json
import sys
import time

from sb3_contrib import TRPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

# https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/trpo.yml, MuJoCo tasks
PRESET = {
    "n_steps": 1024,
    "batch_size": 128,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "cg_max_steps": 25,
    "cg_damping": 0.1,
    "n_critic_updates": 20,
    "learning_rate": 1e-3,
}
NUM_ENVS = 2


def main(environment: str, steps: int) -> None:
    """Train and print."""
    preset = dict(PRESET)
    if environment.startswith("HalfCheetah"):
        preset["target_kl"] = 0.04
    environments = VecNormalize(make_vec_env(environment, NUM_ENVS), gamma=0.99)
    model = TRPO("MlpPolicy", environments, seed=0, device="cpu", **preset)
    model.learn(NUM_ENVS * PRESET["n_steps"])  # one-off costs
    start = time.perf_counter()
    before = model.num_timesteps
    model.learn(steps, reset_num_timesteps=False)
    rate = (model.num_timesteps - before) / (time.perf_counter() - start)
    print(json.dumps({"steps_per_second": round(rate, 1)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Train in a Gymnasium environment of your own, without registering it.

A simulator that is not a pure function runs on the host. `train` then takes a function
`make(num_envs, seed)` that returns a batch of environments. A registered environment
needs no code: `trpo-jax train gymnasium:CartPole-v1`, or `gymnasium:module:name`.
"""

import os

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from trpo_jax import train
from trpo_jax.environments.gymnasium import GymnasiumEnvironment

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"


class Thermostat(gymnasium.Env):
    """Keep a room at 20 degrees while it is 5 outside; the action is heat in [0, 1]."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Start with a room temperature between 10 and 30 degrees."""
        super().reset(seed=seed)
        self.degrees = self.np_random.uniform(10.0, 30.0)
        return np.array([self.degrees], np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        """Heat by up to 3 degrees, and lose a tenth of the difference to outside."""
        self.degrees += 3 * float(action[0]) - 0.1 * (self.degrees - 5)
        reward = 1 - min(abs(self.degrees - 20), 10) / 10
        return np.array([self.degrees], np.float32), reward, False, False, {}


def make(num_envs: int, seed: int) -> GymnasiumEnvironment:
    """Return a batch; `AsyncVectorEnv` would run each environment in a process."""

    def one() -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(Thermostat(), 50)

    # The step that ends an episode also starts the next one, so that no step is lost.
    mode = AutoresetMode.SAME_STEP
    vector = SyncVectorEnv([one] * num_envs, autoreset_mode=mode)
    return GymnasiumEnvironment(vector, seed=seed)


steps = 20_000 if SMALL else 100_000
result = train(make, total_steps=steps, evaluation_episodes=20, progress=False)
first = result.metrics.episode_return[0]
print(f"thermostat, {steps} steps; the highest possible return is 50")
print(f"return before training: {first[np.isfinite(first)][0]:.1f}")
print(f"return of the greedy policy: {result.evaluation['greedy']['iqm']:.1f}")

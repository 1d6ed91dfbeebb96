"""What the scripts for Gymnasium's peers share: 100 greedy episodes, side by side."""

import gymnasium
import numpy as np

EPISODES = 100


def greedy_return(name, act):
    """Return the mean over one episode of each environment.

    Args:
        name: as registered with Gymnasium.
        act: observations `[100, ...]` → actions.
    """
    environments = gymnasium.make_vec(
        name, EPISODES, vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
    )  # fmt: skip
    observation, _ = environments.reset(seed=10_000)
    total, playing = np.zeros(EPISODES), np.ones(EPISODES, bool)
    while playing.any():
        observation, reward, ended, cut, _ = environments.step(act(observation))
        total += np.where(playing, reward, 0)
        playing &= ~(ended | cut)
    environments.close()
    return total.mean()

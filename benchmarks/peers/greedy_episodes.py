"""Greedy episodes, for the scripts whose agents act in Gymnasium environments."""

import gymnasium
import numpy as np

EPISODES = 100


def greedy_return(name, act):
    """Return the mean return of 100 episodes, played side by side.

    Args:
        name: the name of a registered Gymnasium environment.
        act: the policy, a function from observations `[100, ...]` to actions.

    Returns:
        A number.
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

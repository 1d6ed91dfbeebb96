"""Observations of Gymnasium environments, with the masks that their `info` may hold."""

from typing import Any

import numpy as np

from trpo_jax.environments.conversion import convert_observations
from trpo_jax.environments.host import SimulatorError
from trpo_jax.environments.nested import Nested, map_nested
from trpo_jax.environments.spaces import (
    ACTION_MASK,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
)


class GymnasiumObservations:
    """Converts observations, and adds `info["action_mask"]` to them.

    With a mask, observations are dictionaries with the keys `"observation"` and
    `"action_mask"`. Whether there is one, only the `info` of a reset shows.

    Args:
        name: the name of the environments, for error messages.
        num_envs: the number of environments B.
        space: the space of their observations in Gymnasium.
        action_space: the space of their actions.
    """

    def __init__(
        self, name: str, num_envs: int, space: Any, action_space: Space
    ) -> None:
        self._name, self._num_envs = name, num_envs
        self.space, self._convert = convert_observations(name, space)
        self._size = 0  # the numbers of a mask, if there are masks
        entries = self.space.spaces if isinstance(self.space, Dict) else {}
        self._possible_size = 0 if ACTION_MASK in entries else _actions_in(action_space)

    @property
    def undecided(self) -> bool:
        """Whether `look_for_masks` should see the `info` of a reset."""
        return self._possible_size > 0

    def look_for_masks(self, info: dict[str, Any]) -> None:
        """Add masks from now on if the `info` of a reset has one."""
        if ACTION_MASK in info:
            self._size = self._possible_size
            mask = MultiBinary((self._size,))
            self.space = Dict({"observation": self.space, ACTION_MASK: mask})

    def __call__(self, observation: Any, info: dict[str, Any]) -> Nested:
        """Return new arrays `[B, ...]` for the observations of all environments."""
        converted = self._convert(observation)
        if not self._size:
            return converted
        return {ACTION_MASK: self._masks(info), "observation": converted}

    def of_one(self, i: int, observation: Any, info: dict[str, Any]) -> Nested:
        """Return new arrays `[1, ...]` for a single observation of environment i."""
        batch = map_nested(lambda leaf: np.asarray(leaf)[None], observation)
        converted = self._convert(batch)
        if not self._size:
            return converted
        return {ACTION_MASK: self._masks(info)[i : i + 1], "observation": converted}

    def _masks(self, info: dict[str, Any]) -> np.ndarray:
        """Return the masks `[B, size]`; all actions are legal where `info` has none.

        A mask is an array, or a tuple of arrays, one for each element of a
        `MultiDiscrete` space.
        """
        masks = np.ones((self._num_envs, self._size), np.int8)
        given: Any = info.get(ACTION_MASK)
        if given is None:
            return masks
        everywhere = np.ones(self._num_envs, bool)
        for i in np.flatnonzero(info.get(f"_{ACTION_MASK}", everywhere)):
            parts = given[i] if isinstance(given[i], tuple | list) else [given[i]]
            row = np.concatenate([np.ravel(part) for part in parts])
            if len(row) != self._size:
                raise SimulatorError(
                    f"{self._name}: the action_mask in info must have {self._size} "
                    f"numbers, one for each action; got {len(row)}"
                )
            masks[i] = row > 0
        return masks


def _actions_in(space: Space) -> int:
    """Return how many numbers a mask of a space has; 0 where masks are not obeyed."""
    if isinstance(space, Discrete):
        return space.n
    return sum(space.nvec) if isinstance(space, MultiDiscrete) else 0

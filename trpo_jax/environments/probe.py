"""Environments with a known solution, for finding out why an agent does not learn.

Train on them in this order; the first that fails shows what is broken (Andy Jones,
"Debugging RL, without the agonizing pain", 2021).

| probe       | what it tests                                       | solution       |
|-------------|-----------------------------------------------------|----------------|
| value       | the critic can learn a constant                     | V = 1          |
| observation | the critic sees the observation                     | V(o) = o       |
| discount    | reward travels back in time, discounted             | V(first) = γ   |
| truncation  | time limits bootstrap from the final observation    | V(1) = 1/(1−γ) |
| action      | the policy gradient points up                       | action 0       |
| policy      | the policy sees the observation                     | action = o > 0 |
| continuous  | the same, with a Gaussian                           | action = o / 2 |
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box, Discrete, Space


class ProbeState(NamedTuple):
    """The observed number `signal`, and the number of steps taken, `time`."""

    signal: jax.Array
    time: jax.Array


@dataclasses.dataclass(frozen=True)
class Probe:
    """A probe environment; make one with `make_probe`.

    The observation is ±1 at random with `random_signal`; otherwise it counts steps. The
    reward is a function of the signal, the time before the step, and the action. After
    `max_episode_steps` an episode is terminated, or truncated with
    `ends_by_truncation`.
    """

    name: str
    action_space: Space
    random_signal: bool
    max_episode_steps: int
    reward: Callable[[jax.Array, jax.Array, jax.Array], Any]
    ends_by_truncation: bool = False

    @property
    def observation_space(self) -> Box:
        """The space of one observation, an unbounded number."""
        return Box.uniform((1,))

    def reset(self, key: jax.Array) -> tuple[ProbeState, jax.Array]:
        """Start an episode, see `Environment.reset`."""
        signal = jnp.float32(0)
        if self.random_signal:
            signal = jax.random.rademacher(key, (), jnp.float32)
        return ProbeState(signal, jnp.int32(0)), signal[None]

    def step(self, key: jax.Array, env_state: ProbeState, action: jax.Array) -> Step:
        """Take one action, see `Environment.step`."""
        del key
        signal, time = env_state
        reward = self.reward(signal, time, action)
        time = time + 1
        if self.ends_by_truncation:
            signal = jnp.float32(1)  # it is 0 only after a reset
        elif not self.random_signal:
            signal = time.astype(jnp.float32)
        over, never = time >= self.max_episode_steps, jnp.bool_(False)
        return Step(
            env_state=ProbeState(signal, time),
            observation=signal[None],
            reward=jnp.reshape(jnp.float32(reward), ()),
            terminated=never if self.ends_by_truncation else over,
            truncated=over if self.ends_by_truncation else never,
        )


_ONE, _TWO, _LINE = Discrete(1), Discrete(2), Box.uniform((1,), -1, 1)
_PROBES: dict[str, tuple[Any, ...]] = {  # rewards of signal s, time t and action a
    "value": (_ONE, False, 1, lambda s, t, a: 1.0),
    "observation": (_ONE, True, 1, lambda s, t, a: s),
    "discount": (_ONE, False, 2, lambda s, t, a: t),
    "truncation": (_ONE, False, 3, lambda s, t, a: s, True),
    "action": (_TWO, False, 1, lambda s, t, a: jnp.where(a == 0, 1, -1)),
    "policy": (_TWO, True, 1, lambda s, t, a: jnp.where((s > 0) == (a > 0), 1, -1)),
    "continuous": (_LINE, True, 1, lambda s, t, a: -((a[0].clip(-1, 1) - s / 2) ** 2)),
}


def names() -> list[str]:
    """Return the names of the probes in the table above."""
    return list(_PROBES)


def make_probe(name: str) -> Probe:
    """Return the probe of a name in the table above, given without the prefix."""
    return Probe(f"probe:{name}", *_PROBES[name])

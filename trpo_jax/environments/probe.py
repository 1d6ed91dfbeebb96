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
| mask        | forbidden actions are not taken                     | the last legal |
| parts       | dictionaries of observations and actions            | all parts = o  |
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)


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


class _OneStep:
    """A probe whose episodes have one step, and whose state is its observation."""

    max_episode_steps = 1

    def reset(self, key: jax.Array) -> tuple[Any, Any]:
        """Start an episode, see `Environment.reset`."""
        observation = self._draw(key)
        return observation, observation

    def _draw(self, key: jax.Array) -> Any:
        raise NotImplementedError

    def _reward(self, observation: Any, action: Any) -> jax.Array:
        raise NotImplementedError

    def step(self, key: jax.Array, env_state: Any, action: Any) -> Step:
        """Take one action, see `Environment.step`."""
        del key
        reward = self._reward(env_state, action)
        return Step(env_state, env_state, reward, jnp.bool_(True), jnp.bool_(False))


class MaskProbe(_OneStep):
    """Three arms pay 0, 1 and 2; one of the last two, at random, is forbidden.

    The forbidden arm would pay 10. A policy that obeys the mask cannot see which one it
    is, and is best off to prefer the last arm, then the second: it earns 1.5 on
    average. More than 2 shows that the mask was not obeyed.
    """

    name = "probe:mask"
    action_space = Discrete(3)
    observation_space = Dict(
        {"action_mask": MultiBinary((3,)), "observation": Box.uniform((1,))}
    )

    def _draw(self, key: jax.Array) -> Any:
        forbidden = jax.random.randint(key, (), 1, 3)
        legal = (jnp.arange(3) != forbidden).astype(jnp.int8)
        return {"action_mask": legal, "observation": jnp.zeros(1)}

    def _reward(self, observation: Any, action: jax.Array) -> jax.Array:
        legal = observation["action_mask"][action] > 0
        return jnp.where(legal, action, 10).astype(jnp.float32)


class PartsProbe(_OneStep):
    """A number s of 1 or 2 is shown in three ways, and asked for in three ways.

    The choice must be (s, 0), counted from 0, of 3 and 2 integers; the bits (s == 1,
    s == 2); the place s / 4. Each part that is right adds 1 to the reward; the place
    loses the square of its distance.
    """

    name = "probe:parts"
    action_space = Dict(
        {
            "bits": MultiBinary((2,)),
            "choice": MultiDiscrete((3, 2)),
            "more": Tuple((Box.uniform((1,), -1, 1),)),
        }
    )
    observation_space = Tuple(
        (Discrete(2, start=1), MultiDiscrete((3, 2)), Box.uniform((1,)))
    )

    def _draw(self, key: jax.Array) -> Any:
        s = jax.random.randint(key, (), 1, 3)
        return s, jnp.stack([s, s - 1]), s[None].astype(jnp.float32)

    def _reward(self, observation: Any, action: Any) -> jax.Array:
        s, _, real = observation
        bits = (action["bits"] == jnp.stack([2 - s, s - 1])).all()
        choice = (action["choice"] == jnp.stack([s, 0 * s])).all()
        (place,) = action["more"]
        distance = (place.clip(-1, 1) - real / 4)[0] ** 2
        return bits.astype(jnp.float32) + choice.astype(jnp.float32) + 1 - distance


_ONE_STEP: dict[str, Any] = {"mask": MaskProbe, "parts": PartsProbe}


def names() -> list[str]:
    """Return the names of the probes in the table above."""
    return [*_PROBES, *_ONE_STEP]


def make_probe(name: str) -> Probe | MaskProbe | PartsProbe:
    """Return the probe of a name in the table above, given without the prefix."""
    if name in _ONE_STEP:
        return _ONE_STEP[name]()
    return Probe(f"probe:{name}", *_PROBES[name])

"""The cart-pole of Barto, Sutton & Anderson (1983) with a continuous force.

The paper's cart-pole task has a linear policy of six parameters: four slopes, an
offset and a standard deviation. That needs one continuous action, which CartPole-v1
does not have.
"""

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box

_GRAVITY, _CART, _POLE, _HALF, _FORCE, _DT = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02


class CartPole:
    """Reward 1 per step; an episode ends beyond 2.4 m or 12°, or after 500 steps."""

    name = "cart-pole, linear policy"
    observation_space = Box.uniform((4,))
    action_space = Box.uniform((1,), -1.0, 1.0)
    max_episode_steps = 500

    def reset(self, key: jax.Array) -> tuple[tuple, jax.Array]:
        """Start near the upright position."""
        x = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return (x, jnp.int32(0)), x

    def step(self, key: jax.Array, env_state: tuple, action: jax.Array) -> Step:
        """Push with a force of ±10 N at most for 20 ms (Euler)."""
        del key
        (x, speed, angle, turn), time = env_state
        force = _FORCE * jnp.clip(action[0], -1, 1)
        total = _CART + _POLE
        pull = (force + _POLE * _HALF * turn**2 * jnp.sin(angle)) / total
        turning = (_GRAVITY * jnp.sin(angle) - jnp.cos(angle) * pull) / (
            _HALF * (4 / 3 - _POLE * jnp.cos(angle) ** 2 / total)
        )
        pushing = pull - _POLE * _HALF * turning * jnp.cos(angle) / total
        after = jnp.stack(
            [
                x + _DT * speed,
                speed + _DT * pushing,
                angle + _DT * turn,
                turn + _DT * turning,
            ]
        )
        return Step(
            env_state=(after, time + 1),
            observation=after,
            reward=jnp.ones(()),
            terminated=(jnp.abs(after[0]) > 2.4) | (jnp.abs(after[2]) > 0.2095),
            truncated=time + 1 >= self.max_episode_steps,
        )

"""Recording one whole episode of an agent as frames."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from trpo_jax.agent.memory import Memory, first_memory
from trpo_jax.algorithm.evaluation import STEP_LIMIT
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Environment, Step, take_step
from trpo_jax.environments.host import MakeHost
from trpo_jax.environments.nested import rows_of
from trpo_jax.environments.spaces import Box
from trpo_jax.host.actor import Actor, HostMemory, make_keys
from trpo_jax.rendering import frame_rates, gymnax_sketches
from trpo_jax.rendering.mujoco_camera import Camera, cannot_draw, choose_opengl
from trpo_jax.rendering.video import Recording, stride
from trpo_jax.runs.compilation import ONCE, compile_for
from trpo_jax.runs.keys import KeyPurpose, evaluation_seed, run_key
from trpo_jax.runs.saved_policy import SavedPolicy
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, POSITIVE, check

PyTree = Any
Draw = Callable[[PyTree, PyTree], np.ndarray]
"""`draw(env_state, observation)` → uint8 `[H, W, 3]`."""


def record(
    saved: SavedPolicy,
    *,
    agent: int | Literal["best"] = "best",
    seed: int = 0,
    greedy: bool = True,
    max_steps: int | None = None,
    frames_per_second: float | None = None,
) -> Recording:
    """Play one whole episode and render it.

    Args:
        saved: the policy, from `load_policy`, which takes an environment or an agent of
            your own.
        agent: the index of the agent, counted from 0, or "best", see `SavedPolicy.act`.
        seed: the seed of the episode and of sampled actions.
        greedy: whether to play the mode of the distribution instead of a sample.
        max_steps: the number of actions after which the recording ends.
        frames_per_second: the largest frame rate; frames in between are not rendered,
            which takes most of the time, and the last one always is. None renders all.

    Returns:
        A `Recording`, whose frames are all in memory.

    Raises:
        ValueError: if the environment cannot be rendered, on this machine or with the
            packages installed, with the reason.

    Example:
        Record the second agent of a run::

            recording = record(load_policy("runs/eight"), agent=1)
            write_video("agent.gif", recording)
    """
    check("seed", seed, COUNT_OR_ZERO)
    if max_steps is not None:
        check("max_steps", max_steps, COUNT)
    if frames_per_second is not None:
        check("frames_per_second", frames_per_second, POSITIVE)
    one = saved.parameters_of(agent)
    actor = Actor(saved.agent)
    act_key, key = jax.random.split(run_key(seed, KeyPurpose.RENDERING))
    keys = make_keys(act_key, 1)
    with contextlib.closing(_open_stage(saved, seed, key)) as stage:
        limit = stage.max_episode_steps or STEP_LIMIT
        limit = min(limit, max_steps or limit)
        every = stride(stage.frames_per_second, frames_per_second)
        observation = stage.reset()
        frames = [stage.draw()]
        episode_return, length, finished = 0.0, 0, False
        memory = HostMemory(actor, Memory(first_memory(saved.agent.policy, 1)))
        while length < limit and not finished:
            seen = jax.tree.map(lambda x: x[None], observation)
            acting = *one, keys(length), np.bool_(greedy), seen
            action, _ = memory.act(slice(0, 1), acting, np.zeros(1, bool))
            action = jax.tree.map(lambda x: np.asarray(x)[0], action)
            observation, reward, finished = stage.step(action)
            episode_return += reward
            length += 1
            if length % every == 0 or finished or length == limit:
                frames.append(stage.draw())
        rate = stage.frames_per_second / every
    return Recording(frames, rate, episode_return, length, finished)


def _open_stage(
    saved: SavedPolicy, seed: int, key: jax.Array
) -> "_CompiledStage | _HostStage":
    environment: Any = saved.environment
    if hasattr(environment, "step"):
        return _CompiledStage(environment, key)
    by_name = saved.given is None or isinstance(saved.given, str)
    return _HostStage(environment, saved.description.name, by_name, seed)


class _CompiledStage:
    """Plays and renders an environment inside compiled programs."""

    def __init__(self, environment: Environment, key: jax.Array) -> None:
        self._draw, self.frames_per_second = _find_drawing(environment)
        self._environment, self._key = environment, key
        self.max_episode_steps = environment.max_episode_steps
        self._state: PyTree = None
        self._observation: PyTree = None
        self._compiled: Callable[..., Step] | None = None

    def _next_key(self) -> jax.Array:
        self._key, key = jax.random.split(self._key)
        return key

    def reset(self) -> PyTree:
        key = self._next_key()
        self._state, observation = compile_for(ONCE, self._environment.reset, key)(key)
        self._observation = jax.tree.map(np.asarray, observation)
        return self._observation

    def step(self, action: PyTree) -> tuple[PyTree, float, bool]:
        def step(key: jax.Array, state: PyTree, action: PyTree) -> Step:
            return take_step(self._environment, key, state, action)

        given = self._next_key(), self._state, action
        self._compiled = self._compiled or compile_for(ONCE, step, *given)
        after = self._compiled(*given)
        self._state = after.env_state
        self._observation = jax.tree.map(np.asarray, after.observation)
        finished = bool(after.terminated | after.truncated)
        return self._observation, float(after.reward), finished

    def draw(self) -> np.ndarray:
        return self._draw(self._state, self._observation)

    def close(self) -> None:
        getattr(self._draw, "close", lambda: None)()


class _HostStage:
    """Plays and renders an environment whose simulator is on the host."""

    def __init__(self, make: MakeHost, name: str, by_name: bool, seed: int) -> None:
        choose_opengl()
        self._name = name
        simulator, _, task = name.partition(":")
        options = {"render_mode": "rgb_array"} if by_name else {}
        try:  # the render mode is chosen when it is made
            environment: Any = make(1, evaluation_seed(seed), **options)
        except (TypeError, ValueError) as error:
            raise cannot_draw(self._name, error) from error
        if not hasattr(environment, "render"):
            environment.close()
            raise ValueError(f"{self._name} cannot be rendered: it has no render()")
        self._environment = environment
        self.max_episode_steps = environment.max_episode_steps
        rate = getattr(environment, "frames_per_second", None)
        if rate is None and simulator == "envpool":
            rate = frame_rates.rate_of(task)
        self.frames_per_second = float(rate or frame_rates.OTHER_FRAMES_PER_SECOND)

    def reset(self) -> PyTree:
        return rows_of(self._environment.reset(), 0)

    def step(self, action: PyTree) -> tuple[PyTree, float, bool]:
        self._environment.send(rows_of(action, None))
        step = self._environment.receive()
        finished = bool(step.terminated[0] | step.truncated[0])
        return rows_of(step.next_observation, 0), float(step.reward[0]), finished

    def draw(self) -> np.ndarray:
        try:
            frame = np.asarray(self._environment.render())
        except Exception as error:
            raise cannot_draw(self._name, error) from error
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(
                f"{self._name} cannot be rendered: frames must be uint8 [H, W, 3]; got "
                f"{frame.dtype} {list(frame.shape)}"
            )
        return frame

    def close(self) -> None:
        self._environment.close()


def _find_drawing(environment: Environment) -> tuple[Draw, float]:
    """Return the function that draws an environment, and its frame rate.

    An environment of your own may have `render(env_state)` → uint8 `[H, W, 3]`, and the
    attribute `frames_per_second`.
    """
    if isinstance(environment, ActionRepeat):
        draw, rate = _find_drawing(environment.environment)
        return draw, rate / environment.repeat
    simulator, _, task = environment.name.partition(":")
    if hasattr(environment, "render"):
        usual = frame_rates.OTHER_FRAMES_PER_SECOND
        rate = getattr(environment, "frames_per_second", usual)
        return lambda env_state, _: environment.render(env_state), rate
    rate = frame_rates.rate_of(task) or frame_rates.GAME_FRAMES_PER_SECOND
    wrapped: Any = getattr(environment, "simulator", None)
    if simulator in ("brax", "playground"):
        return Camera(environment.name, wrapped), 1 / wrapped.dt
    if simulator == "gymnax" and task in gymnax_sketches.MAPS:
        return functools.partial(gymnax_sketches.MAPS[task], wrapped), rate
    if simulator == "gymnax" and task in gymnax_sketches.DRAWINGS:
        draw_state = gymnax_sketches.DRAWINGS[task]
        return lambda env_state, _: draw_state(env_state), rate
    space = environment.observation_space
    if isinstance(space, Box) and len(space.shape) in (2, 3) and min(space.shape) > 1:
        return lambda _, observation: gymnax_sketches.draw_channels(observation), rate
    raise ValueError(
        f"{environment.name} cannot be rendered: give the environment a render method"
    )

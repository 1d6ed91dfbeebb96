"""Watching an agent: one whole episode as pictures, and the pictures as a video."""

import contextlib
import functools
import importlib
import io
import itertools
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from trpo_jax.checkpoint import SavedPolicy
from trpo_jax.config import COUNT, COUNT_OR_ZERO, POSITIVE, check
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Environment, Step, shaped
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.environments.spaces import Box
from trpo_jax.evaluation import STEP_LIMIT
from trpo_jax.host_rollout import make_actor
from trpo_jax.plan import check_suffix
from trpo_jax.programs import ONCE, compile_for

PyTree = Any
Draw = Callable[[PyTree, np.ndarray], np.ndarray]
"""`draw(env_state, observation)` → uint8 `[H, W, 3]`."""

GIF_BYTES = 3_000_000  # the first size is taken that is likely to stay below
GIF_SIZES = ((320, 25), (240, 25), (240, 12.5), (160, 12.5))  # width, frames a second
GIF_COLORS = 64  # of 256 that it may have
RENDER_SIZE = (360, 480)  # height and width of what MuJoCo draws
GAME_FRAMES_PER_SECOND = 10.0  # worlds of cells, which have no time of their own
OTHER_FRAMES_PER_SECOND = 30.0  # where nothing is known

# Steps a second, by task. First the `render_fps` of Gymnasium's environments, real time
# for MuJoCo; then the control time steps of the DeepMind Control Suite (Tassa et al.
# 2018); then those of gymnax that have one.
_TASKS = (
    (15, "Acrobot"),
    (20, "Ant HalfCheetah InvertedDoublePendulum Pusher"),
    (25, "InvertedPendulum Swimmer"),
    (30, "MountainCar MountainCarContinuous Pendulum"),
    (50, "BipedalWalker BipedalWalkerHardcore CarRacing CartPole LunarLander"),
    (50, "LunarLanderContinuous Reacher"),
    (1 / 0.015, "Humanoid HumanoidStandup"),
    (125, "Hopper Walker2d"),
    (25, "FishSwim FishUpright"),
    (1 / 0.03, "SwimmerSwimmer6 SwimmerSwimmer15 LqrLqr21 LqrLqr62"),
    (40, "HumanoidRun HumanoidRunPureState HumanoidStand HumanoidWalk"),
    (40, "WalkerRun WalkerStand WalkerWalk"),
    (50, "BallInCupCatch FingerSpin FingerTurnEasy FingerTurnHard HopperHop"),
    (50, "HopperStand HumanoidCMURun HumanoidCMUStand HumanoidCMUWalk"),
    (50, "PendulumSwingup PointMassEasy PointMassHard QuadrupedEscape"),
    (50, "QuadrupedFetch QuadrupedRun QuadrupedWalk ReacherEasy ReacherHard"),
    (1 / 0.015, "DogFetch DogRun DogStand DogTrot DogWalk"),
    (100, "AcrobotSwingup AcrobotSwingupSparse CartpoleBalance CartpoleSwingup"),
    (100, "CartpoleBalanceSparse CartpoleSwingupSparse CartpoleTwoPoles"),
    (100, "CartpoleThreePoles CheetahRun ManipulatorBringBall ManipulatorBringPeg"),
    (100, "ManipulatorInsertBall ManipulatorInsertPeg StackerStack2 StackerStack4"),
    (20, "Reacher-misc Swimmer-misc"),
    (30, "Pong-misc"),
)
RATES = {task: float(rate) for rate, tasks in _TASKS for task in tasks.split()}


class Recording(NamedTuple):
    """One episode.

    Attributes:
        frames: uint8 `[H, W, 3]` each: the start, then what every action led to.
        frames_per_second: at which to show them: real time in MuJoCo, else as
            Gymnasium does, else 10 for worlds of cells and 30 for others.
        episode_return: undiscounted sum of all rewards.
        episode_length: actions.
        finished: False when it was stopped before it ended.
    """

    frames: list[np.ndarray]
    frames_per_second: float
    episode_return: float
    episode_length: int
    finished: bool


def record(
    saved: SavedPolicy,
    *,
    agent: int = 0,
    seed: int = 0,
    greedy: bool = True,
    max_steps: int | None = None,
    frames_per_second: float | None = None,
) -> Recording:
    """Play one whole episode and draw it.

    Args:
        saved: from `load_policy`.
        agent: which of its agents plays, counted from 0.
        seed: of the episode and of sampled actions.
        greedy: play the mode of the distribution instead of a sample.
        max_steps: stop here at the latest.
        frames_per_second: leave out pictures until there are at most so many to the
            second; drawing takes most of the time. The last one is always there. All
            are drawn when None.

    Returns:
        A `Recording`; all its pictures are in memory.

    Raises:
        ValueError: when the environment has no pictures, or cannot draw them on this
            machine or with the packages installed, with its reason.

    Example:
        Watch the second agent of a run::

            recording = record(load_policy("runs/eight"), agent=1)
            write_video("agent.gif", recording)
    """
    check("agent", agent, COUNT_OR_ZERO)
    check("seed", seed, COUNT_OR_ZERO)
    if max_steps is not None:
        check("max_steps", max_steps, COUNT)
    if frames_per_second is not None:
        check("frames_per_second", frames_per_second, POSITIVE)
    agents = len(jax.tree.leaves(saved.policy_params)[0])
    if agent >= agents:
        raise ValueError(
            f"agent must be below {agents}, the number of agents; got {agent}"
        )
    params, normalizer = jax.tree.map(
        lambda leaf: leaf[agent], (saved.policy_params, saved.normalizer)
    )
    actor = make_actor(saved.agent)
    act_key, key = jax.random.split(jax.random.key(seed))
    limit = saved.environment.max_episode_steps or STEP_LIMIT
    limit = min(limit, max_steps or limit)
    with contextlib.closing(_open_stage(saved.environment, seed, key)) as stage:
        every = _stride(stage.frames_per_second, frames_per_second)
        observation = stage.reset()
        frames = [stage.draw()]
        episode_return, length, finished = 0.0, 0, False
        while length < limit and not finished:
            action, _ = actor(
                params,
                normalizer,
                act_key,
                np.int32(length),
                np.int32(0),
                np.bool_(greedy),
                observation[None],
            )
            observation, reward, finished = stage.step(np.asarray(action)[0])
            episode_return += reward
            length += 1
            if length % every == 0 or finished or length == limit:
                frames.append(stage.draw())
        rate = stage.frames_per_second / every
    return Recording(frames, rate, episode_return, length, finished)


def write_video(path: str | os.PathLike, recording: Recording) -> None:
    """Write a recording as a GIF or an MP4, at its own speed.

    A GIF is kept small: at most 25 pictures a second, those in between left out; at
    most 320 pixels wide, what is wider made smaller; 64 colours. Where more than 3 MB
    are to be expected, as from 1000 steps of MuJoCo, down to 12.5 pictures a second and
    160 pixels. An MP4 has every picture as it is.

    Args:
        path: ends in `.gif` or `.mp4`; the file appears when it is whole.
        recording: from `record`.

    Raises:
        ValueError: for another ending, or when what MP4 needs is not installed.
        OSError: when the file cannot be written.
    """
    check_suffix(path)
    path = pathlib.Path(path)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    unfinished = path.with_suffix(f".unfinished{path.suffix}")
    try:
        write(unfinished, recording)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _stride(rate: float, limit: float | None) -> int:
    """Return of how many pictures one is kept, so that at most `limit` a second are."""
    return 1 if limit is None else max(1, math.ceil(rate / limit - 1e-6))


def _write_gif(path: pathlib.Path, recording: Recording) -> None:
    kept, width, rate = _fit_gif(recording)
    path.write_bytes(_encode_gif(kept, width, rate))


def _fit_gif(recording: Recording) -> tuple[list[np.ndarray], int, float]:
    """Return pictures, width and rate that keep a GIF small, judged by some of it."""
    for width, limit in GIF_SIZES:
        every = _stride(recording.frames_per_second, limit)
        kept = recording.frames[::-1][::every][::-1]  # the last one always
        rate = recording.frames_per_second / every
        middle = len(kept) // 2
        some = kept[max(0, middle - 10) : middle + 10]
        if len(_encode_gif(some, width, rate)) * len(kept) <= GIF_BYTES * len(some):
            break
    return kept, width, rate


def _encode_gif(frames: list[np.ndarray], width: int, rate: float) -> bytes:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    if images[0].width > width:
        size = (width, round(images[0].height * width / images[0].width))
        images = [image.resize(size, Image.Resampling.BOX) for image in images]
    # One palette for all, made of pixels from all: no flicker, and it is stored once.
    step = 1 + len(images) * images[0].width * images[0].height // 2**17
    pixels = [np.asarray(image).reshape(-1, 3)[::step] for image in images]
    sample = Image.fromarray(np.concatenate(pixels)[None])
    # Centred until all but a hundredth of the pixels stay with their color.
    sample = sample.quantize(GIF_COLORS, kmeans=sample.width // 100)
    palette = np.array(sample.getpalette(), np.uint8).reshape(-1, 3)
    nearest = _Nearest(palette)
    first, *others = (Image.fromarray(nearest(np.asarray(i))) for i in images)
    for image in (first, *others):
        image.putpalette(palette.tobytes())
    # A GIF counts time in hundredths of a second; rounded ends keep the sum right.
    ends = np.rint(np.arange(len(images) + 1) * 100 / rate).astype(int)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=others,
        duration=(10 * np.diff(ends)).tolist(),
        loop=0,
        optimize=False,  # which makes a palette for every picture
    )
    return buffer.getvalue()


class _Nearest:
    """Finds the nearest of some colors; Pillow's own way is off by up to 4."""

    def __init__(self, palette: np.ndarray) -> None:
        self._palette = palette.astype(np.float32)
        self._known = np.full(2**24, -1, np.int16)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        packed = pixels.astype(np.int32) @ np.array([2**16, 2**8, 1], np.int32)
        new = np.unique(packed[self._known[packed] < 0])
        colors = np.stack([new >> 16, new >> 8 & 255, new & 255], -1)
        # |c − p|² = |c|² − 2 cᵀp + |p|², of which |c|² does not matter.
        distance = (self._palette**2).sum(-1) - 2 * (colors @ self._palette.T)
        self._known[new] = distance.argmin(-1)
        return self._known[packed].astype(np.uint8)


def _write_mp4(path: pathlib.Path, recording: Recording) -> None:
    import imageio_ffmpeg

    height, width, _ = recording.frames[0].shape
    rate = f"{recording.frames_per_second:.6f}"
    given = f"-v error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate} -i -"
    even = "-vf pad=ceil(iw/2)*2:ceil(ih/2)*2"  # as the codec wants it
    wanted = f"{even} -c:v libx264 -pix_fmt yuv420p -crf 20"
    # Not imageio_ffmpeg.write_frames: it forks in a way that can hang beside JAX.
    options = f"{given} {wanted}".split()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        with contextlib.suppress(BrokenPipeError):  # it will say why
            for frame in recording.frames:
                process.stdin.write(np.ascontiguousarray(frame))
        _, said = process.communicate()
    if process.returncode:
        raise OSError(" ".join(["ffmpeg:", *said.decode(errors="replace").split()]))


def _open_stage(
    environment: Environment | HostEnvironment, seed: int, key: jax.Array
) -> "_CompiledStage | _HostStage":
    if hasattr(environment, "send"):
        return _HostStage(environment, seed)
    return _CompiledStage(environment, key)


class _CompiledStage:
    """Plays and draws an environment that runs in compiled programs."""

    def __init__(self, environment: Environment, key: jax.Array) -> None:
        self._draw, self.frames_per_second = _find_drawing(environment)
        self._environment = environment
        self._key = key
        self._state: PyTree = None
        self._observation = np.zeros(0)
        self._compiled: Callable[..., Step] | None = None

    def _next_key(self) -> jax.Array:
        self._key, key = jax.random.split(self._key)
        return key

    def reset(self) -> np.ndarray:
        key = self._next_key()
        reset = compile_for(ONCE, self._environment.reset, key)
        self._state, observation = reset(key)
        self._observation = np.asarray(observation)
        return self._observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        def step(key: jax.Array, state: PyTree, action: jax.Array) -> Step:
            action = shaped(self._environment, action)
            return self._environment.step(key, state, action)

        given = self._next_key(), self._state, action
        self._compiled = self._compiled or compile_for(ONCE, step, *given)
        step = self._compiled(*given)
        self._state, self._observation = step.env_state, np.asarray(step.observation)
        finished = bool(step.terminated | step.truncated)
        return self._observation, float(step.reward), finished

    def draw(self) -> np.ndarray:
        return self._draw(self._state, self._observation)

    def close(self) -> None:
        getattr(self._draw, "close", lambda: None)()


class _HostStage:
    """Plays and draws an environment of a simulator on the host."""

    def __init__(self, environment: HostEnvironment, seed: int) -> None:
        _choose_opengl()
        self._name = environment.name
        simulator, _, task = self._name.partition(":")
        if not hasattr(environment, "render"):
            raise ValueError(f"{self._name} has no pictures: it has no render()")
        try:  # a new one, since pictures must be asked for when it is made
            self._environment = type(environment)(
                task, 1, seed, render_mode="rgb_array"
            )
        except (TypeError, ValueError) as error:
            raise _cannot_draw(self._name, error) from error
        rate = self._environment.frames_per_second
        if rate is None and simulator == "envpool":
            rate = _rate_of(task)
        self.frames_per_second = float(rate or OTHER_FRAMES_PER_SECOND)

    def reset(self) -> np.ndarray:
        return self._environment.reset()[0]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        self._environment.send(action[None])
        step = self._environment.receive()
        finished = bool(step.terminated[0] | step.truncated[0])
        return step.next_observation[0], float(step.reward[0]), finished

    def draw(self) -> np.ndarray:
        try:
            frame = np.asarray(self._environment.render())
        except Exception as error:
            raise _cannot_draw(self._name, error) from error
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(
                f"{self._name} has no pictures: they must be uint8 [H, W, 3]; got "
                f"{frame.dtype} {list(frame.shape)}"
            )
        return frame

    def close(self) -> None:
        self._environment.close()


def _cannot_draw(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    advice = ""
    if any(
        word in reason
        for word in ("EGL", "OpenGL platform", "gladLoadGL", "glGetError")
    ):
        advice = (
            "; without a screen MuJoCo draws with EGL, on Debian `apt install libegl1 "
            "libgl1-mesa-dri`"
        )
    return ValueError(f"{name} cannot be drawn here: {reason}{advice}")


def _choose_opengl() -> None:
    """Let MuJoCo draw without a screen, where there is none."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform == "linux" and not any(map(os.environ.get, screens)):
        os.environ.setdefault("MUJOCO_GL", "egl")


def _rate_of(task: str) -> float | None:
    return RATES.get(task.rpartition("-v")[0] or task)


def _find_drawing(environment: Environment) -> tuple[Draw, float]:
    """Return what draws an environment that runs in compiled programs, and its rate.

    An environment of your own may have `render(env_state)` → uint8 `[H, W, 3]`, and the
    attribute `frames_per_second`.

    Raises:
        ValueError: when nothing does.
    """
    if isinstance(environment, ActionRepeat):
        draw, rate = _find_drawing(environment._environment)
        return draw, rate / environment._repeat
    simulator, _, task = environment.name.partition(":")
    if hasattr(environment, "render"):
        rate = getattr(environment, "frames_per_second", OTHER_FRAMES_PER_SECOND)
        return lambda env_state, observation: environment.render(env_state), rate
    rate = _rate_of(task) or GAME_FRAMES_PER_SECOND
    if simulator in ("brax", "playground"):
        return _Camera(environment.name, environment._env), 1 / environment._env.dt
    if simulator == "gymnax" and task in _MAPS:
        return functools.partial(_MAPS[task], environment._env), rate
    if simulator == "gymnax" and task in _DRAWINGS:
        return lambda env_state, observation: _DRAWINGS[task](env_state), rate
    space = environment.observation_space
    if isinstance(space, Box) and len(space.shape) in (2, 3) and min(space.shape) > 1:
        return lambda env_state, observation: draw_channels(observation), rate
    raise ValueError(f"{environment.name} has no pictures: nothing here can draw it")


class _Camera:
    """Draws the states of brax and MuJoCo Playground with MuJoCo's renderer."""

    def __init__(self, name: str, simulator: Any) -> None:
        import mujoco

        _choose_opengl()
        system = getattr(simulator, "sys", simulator)  # brax has one
        self._model = getattr(system, "mj_model", None)
        try:
            # It looked for OpenGL when it was imported, perhaps before it was told.
            module = importlib.import_module(mujoco.Renderer.__module__)
            importlib.reload(module.gl_context)
            self._renderer = mujoco.Renderer(self._model, *RENDER_SIZE)
        except Exception as error:
            raise _cannot_draw(name, error) from error
        self._data = mujoco.MjData(self._model)
        self._forward = mujoco.mj_forward
        modes = (
            mujoco.mjtCamLight.mjCAMLIGHT_TRACK,
            mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM,
        )
        following = np.flatnonzero(np.isin(self._model.cam_mode, modes))
        self._camera = int(following[0]) if len(following) else -1

    def __call__(self, env_state: PyTree, observation: np.ndarray) -> np.ndarray:
        del observation
        state = env_state.simulator
        physics = getattr(state, "pipeline_state", None) or state.data
        brax = hasattr(physics, "q")
        self._data.qpos = physics.q if brax else physics.qpos
        self._data.qvel = physics.qd if brax else physics.qvel
        for name in ("mocap_pos", "mocap_quat"):
            if hasattr(physics, name):
                setattr(self._data, name, getattr(physics, name))
        self._forward(self._model, self._data)
        self._renderer.update_scene(self._data, camera=self._camera)
        return self._renderer.render().copy()

    def close(self) -> None:
        self._renderer.close()


INK, ROD, GOAL, FLOOR = "#333333", "#c8553d", "#588b3f", "#b8b8b8"


class _Sketch:
    """A drawing in coordinates of its world, y upwards, finer than its result."""

    FINER = 4

    def __init__(
        self, low: tuple[float, float], high: tuple[float, float], width: int = 320
    ) -> None:
        from PIL import Image, ImageDraw

        width, height = self.FINER * width, high[1] - low[1]
        self._low, self._top = low[0], high[1]
        self._scale = width / (high[0] - low[0])
        size = (width, self.FINER * round(height * self._scale / self.FINER))
        self._image = Image.new("RGB", size, "white")
        self._draw = ImageDraw.Draw(self._image)

    def _pixels(self, points: Sequence) -> list[tuple[float, float]]:
        return [
            (self._scale * (x - self._low), self._scale * (self._top - y))
            for x, y in np.asarray(points, float)
        ]

    def line(self, points: Sequence, color: str, width: float = 0.02) -> None:
        self._draw.line(
            self._pixels(points), color, round(width * self._scale), "curve"
        )

    def rod(self, points: Sequence, color: str, width: float) -> None:
        points = np.asarray(points, float)
        for start, end in itertools.pairwise(points):
            along = (end - start) / np.linalg.norm(end - start)
            side = along[::-1] * (-width / 2, width / 2)
            self.polygon([start + side, end + side, end - side, start - side], color)
        for point in points:
            self.disc(point, width / 2, color)

    def polygon(self, points: Sequence, color: str) -> None:
        self._draw.polygon(self._pixels(points), color)

    def box(self, center: tuple, width: float, height: float, color: str) -> None:
        (x, y), w, h = center, width / 2, height / 2
        corners = [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]
        self.polygon(corners, color)

    def disc(self, center: Sequence, radius: float, color: str) -> None:
        ((x, y),), r = self._pixels([center]), radius * self._scale
        self._draw.ellipse((x - r, y - r, x + r, y + r), color)

    def finish(self) -> np.ndarray:
        return np.asarray(self._image.reduce(self.FINER))


def _draw_cartpole(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-2.6, -0.5), (2.6, 1.6))
    x, theta = float(state.x), float(state.theta)
    sketch.line([(-2.6, 0), (2.6, 0)], FLOOR)
    for end in (-2.4, 2.4):  # beyond, the episode is over
        sketch.line([(end, -0.15), (end, 0.15)], FLOOR)
    sketch.box((x, 0), 0.5, 0.26, INK)
    sketch.rod([(x, 0), (x + math.sin(theta), math.cos(theta))], ROD, 0.1)
    sketch.disc((x, 0), 0.03, "white")
    return sketch.finish()


def _draw_pendulum(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-1.3, -1.3), (1.3, 1.3))
    theta = float(state.theta)  # 0 is up, counter-clockwise
    sketch.rod([(0, 0), (-math.sin(theta), math.cos(theta))], ROD, 0.16)
    sketch.disc((0, 0), 0.05, INK)
    return sketch.finish()


def _draw_acrobot(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-2.2, -2.2), (2.2, 2.2))
    one = float(state.joint_angle1)  # 0 is down
    two = one + float(state.joint_angle2)
    elbow = np.array([math.sin(one), -math.cos(one)])
    tip = elbow + np.array([math.sin(two), -math.cos(two)])
    sketch.line([(-2.2, 1), (2.2, 1)], GOAL)
    sketch.rod([(0, 0), elbow], ROD, 0.16)
    sketch.rod([elbow, tip], ROD, 0.16)
    sketch.disc((0, 0), 0.05, INK)
    sketch.disc(elbow, 0.05, INK)
    return sketch.finish()


def _draw_mountain_car(goal: float, state: PyTree) -> np.ndarray:
    def height(x: Any) -> Any:
        return 0.45 * np.sin(3 * x) + 0.55

    sketch = _Sketch((-1.25, -0.05), (0.65, 1.2))
    x = np.linspace(-1.25, 0.65, 100)
    hill = np.stack([x, height(x)], 1)
    sketch.polygon([(-1.25, -0.05), *hill, (0.65, -0.05)], FLOOR)
    foot, top = (goal, height(goal)), (goal, height(goal) + 0.18)
    sketch.line([foot, top], INK, 0.012)
    sketch.polygon([top, (goal + 0.1, top[1] - 0.04), (goal, top[1] - 0.08)], GOAL)
    x = float(state.position)
    sketch.disc((x, height(x) + 0.05), 0.05, ROD)
    return sketch.finish()


def _draw_point_robot(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-1.5, -1.0), (1.5, 1.5))
    angle = np.linspace(0, np.pi, 60)
    sketch.line(np.stack([np.cos(angle), np.sin(angle)], 1), FLOOR)
    sketch.disc(state.goal, 0.2, GOAL)
    sketch.disc(state.pos, 0.05, ROD)
    return sketch.finish()


def _draw_reacher(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-2.3, -2.3), (2.3, 2.3))
    sketch.disc(state.goal_xy, 0.12, GOAL)
    angles = np.asarray(state.angles)  # each against the x axis
    links = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), axis=0)
    sketch.rod([(0, 0), *links], ROD, 0.16)
    sketch.disc((0, 0), 0.05, INK)
    return sketch.finish()


def _draw_swimmer(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-1.5, -1.5), (1.5, 1.5))
    sketch.disc(state.goal_xy, 0.1, GOAL)
    for urchin in np.asarray(state.urchin_xys):
        sketch.disc(urchin, 0.12, INK)
    sketch.disc(state.xy, 0.07, ROD)
    return sketch.finish()


_DRAWINGS: dict[str, Callable[[PyTree], np.ndarray]] = {
    "CartPole-v1": _draw_cartpole,
    "Pendulum-v1": _draw_pendulum,
    "Acrobot-v1": _draw_acrobot,
    "MountainCar-v0": functools.partial(_draw_mountain_car, 0.5),
    "MountainCarContinuous-v0": functools.partial(_draw_mountain_car, 0.45),
    "PointRobot-misc": _draw_point_robot,
    "Reacher-misc": _draw_reacher,
    "Swimmer-misc": _draw_swimmer,
}

_PALETTE = np.array(  # black, then one a channel: the ten of Tableau
    [
        (16, 16, 24),
        (31, 119, 180),
        (255, 127, 14),
        (44, 160, 44),
        (214, 39, 40),
        (148, 103, 189),
        (140, 86, 75),
        (227, 119, 194),
        (127, 127, 127),
        (188, 189, 34),
        (23, 190, 207),
    ],
    np.uint8,
)


def draw_channels(observation: np.ndarray) -> np.ndarray:
    """Draw an observation whose channels say what is where, as those of MinAtar do.

    Args:
        observation: `[H, W]` or `[H, W, C]`; where it is not 0, there is something. Of
            several things in one cell the last channel is shown.

    Returns:
        uint8 `[h·H, h·W, 3]`, a colour a channel.

    Example:
        >>> cells = np.zeros((10, 10, 4))
        >>> draw_channels(cells).shape
        (320, 320, 3)
    """
    cells = np.asarray(observation)
    cells = cells[..., None] if cells.ndim == 2 else cells
    channel = (cells != 0) * (np.arange(cells.shape[-1]) % 10 + 1)
    return _draw_cells(channel.max(-1), _PALETTE)


def _draw_cells(cells: np.ndarray, palette: np.ndarray) -> np.ndarray:
    size = max(1, 320 // max(cells.shape))
    return palette[cells].repeat(size, 0).repeat(size, 1)


_TILES = np.array(  # floor, wall or hole, goal, agent
    [(240, 240, 240), (51, 51, 51), (88, 139, 63), (200, 85, 61)], np.uint8
)


def _draw_maze(simulator: Any, state: PyTree, observation: np.ndarray) -> np.ndarray:
    del observation
    cells = 1 - np.asarray(simulator.env_map, int)
    cells[tuple(np.asarray(state.goal))] = 2
    cells[tuple(np.asarray(state.pos))] = 3
    return _draw_cells(cells, _TILES)


def _draw_lake(simulator: Any, state: PyTree, observation: np.ndarray) -> np.ndarray:
    del observation
    tiles = np.array([0, 0, 1, 2])  # start and ice are floor
    cells = tiles[np.asarray(simulator.desc)]
    cells.flat[int(state.position)] = 3
    return _draw_cells(cells, _TILES)


_MAPS = {
    "FourRooms-misc": _draw_maze,
    "MetaMaze-misc": _draw_maze,
    "FrozenLake-misc": _draw_lake,
}

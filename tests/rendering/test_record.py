"""Recording: the oracle is a clock, whose pictures have the colour of its time."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import types
from typing import ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence

import trpo_jax.rendering.gymnax_sketches as drawings
import trpo_jax.rendering.mujoco_camera as camera
import trpo_jax.rendering.record as watching
import trpo_jax.rendering.video as video
from trpo_jax.agent.distributions import Categorical
from trpo_jax.agent.networks import Agent, Network
from trpo_jax.agent.normalization import Normalizer
from trpo_jax.environments import make_environment
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Step
from trpo_jax.environments.description import describe_environment
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.environments.gymnax import GymnaxEnvironment, names
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.rendering.record import record
from trpo_jax.rendering.video import Recording, write_video
from trpo_jax.runs.output_paths import check_suffix
from trpo_jax.runs.saved_policy import SavedPolicy

LENGTH = 9


def color(time):
    return (20 * time, 255 - 20 * time, 7)


def clock_face(time):
    return np.broadcast_to(np.array(color(time), np.uint8), (4, 6, 3))


class HostClock(gymnasium.Env):
    """Observation: the time. Reward: (1 + action) · time before the step."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 40}
    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    played: ClassVar = []

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        self.time = 0
        self.played.clear()
        return np.zeros(1, np.float32), {}

    def step(self, action):
        reward = (1.0 + action) * self.time
        self.time += 1
        self.played.append(int(action))
        observation = np.array([self.time], np.float32)
        return observation, reward, self.time == LENGTH, False, {}

    def render(self):
        return clock_face(self.time)


class Shy(HostClock):
    metadata: ClassVar = {"render_modes": []}

    def __init__(self):
        super().__init__()

    render = gymnasium.Env.render


class Undressed(HostClock):
    def render(self):
        return clock_face(self.time)[..., 0]


class Uninstalled(HostClock):
    def render(self):
        raise gymnasium.error.DependencyNotInstalled("it needs\n  `pip install easel`")


@pytest.fixture(autouse=True)
def _environment_variables(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))


@pytest.fixture(autouse=True, scope="module")
def _registered():
    kinds = {"Watched": HostClock, "Shy": Shy, "Undressed": Undressed}
    for name, kind in (kinds | {"Uninstalled": Uninstalled}).items():
        gymnasium.register(f"{name}Clock-v0", kind, max_episode_steps=50)
    yield
    for name in ("Watched", "Shy", "Undressed", "Uninstalled"):
        del gymnasium.registry[f"{name}Clock-v0"]


class ClockState(NamedTuple):
    time: jax.Array


class CompiledClock:
    """The same clock in compiled programs; it is truncated at its end."""

    name = "mine:clock"
    observation_space = Box.uniform((1,))
    action_space = Discrete(2)
    max_episode_steps = LENGTH
    frames_per_second = 40.0

    def reset(self, key):
        return ClockState(jnp.int32(0)), jnp.zeros(1)

    def step(self, key, env_state, action):
        time = env_state.time + 1
        return Step(
            env_state=ClockState(time),
            observation=time.astype(jnp.float32)[None],
            reward=((1 + action) * env_state.time).astype(jnp.float32),
            terminated=jnp.bool_(False),
            truncated=time >= LENGTH,
        )

    def render(self, env_state):
        return clock_face(int(env_state.time))


def policy_of(environment, *logits, size=2):
    """One agent for each row of logits; without any, one that tosses a coin.

    A simulator on the host is made again by its name.
    """
    rows = jnp.asarray(logits or [[0.0] * size])

    def apply(params, observation):
        shape = (*observation.shape[:1], rows.shape[1])
        return Categorical(jnp.broadcast_to(params, shape))

    network = Network(lambda key, observation: rows[0], apply)
    agent = Agent(policy=network, critic=network)
    normalizer = Normalizer(None, None, None)
    given = environment if hasattr(environment, "step") else None
    if isinstance(environment, ActionRepeat):
        given = environment.environment
    described = describe_environment(environment, own=False)
    return SavedPolicy(described, agent, rows, normalizer, None, given)


KINDS = {
    "host": lambda: GymnasiumEnvironment("WatchedClock-v0"),
    "compiled": CompiledClock,
}
FIRST, SECOND = [5.0, 0.0], [0.0, 5.0]
SUM = LENGTH * (LENGTH - 1) / 2  # 0 + 1 + … + 8


def times(recording):
    """Read the time off every picture, and see that it is in all its pixels."""
    for frame in recording.frames:
        assert frame.dtype == np.uint8
        assert frame.shape == (4, 6, 3)
        assert (frame == frame[0, 0]).all()
    return [int(frame[0, 0, 0]) // 20 for frame in recording.frames]


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_drawn_in_order_and_the_last_is_not_the_next_episode(kind):
    recording = record(policy_of(KINDS[kind](), FIRST))
    assert times(recording) == list(range(LENGTH + 1))
    assert recording.frames_per_second == 40
    assert recording.episode_length == LENGTH
    assert recording.episode_return == SUM
    assert recording.finished


@pytest.mark.parametrize("kind", KINDS)
def test_the_agent_asked_for_plays(kind):
    two = policy_of(KINDS[kind](), FIRST, SECOND)
    assert record(two, agent=0).episode_return == SUM
    assert record(two, agent=1).episode_return == 2 * SUM
    with pytest.raises(ValueError, match=r"agent must be below 2, .*; got 2"):
        record(two, agent=2)
    with pytest.raises(ValueError, match="agent must be an index from 0 to 1: "):
        record(two)
    best = two._replace(greedy_return=(SUM, 2 * SUM))
    assert record(best).episode_return == 2 * SUM


def test_the_return_is_that_of_the_actions_played():
    recording = record(policy_of(KINDS["host"]()), greedy=False, seed=3)
    actions = list(HostClock.played)
    assert set(actions) == {0, 1}
    by_hand = sum((1 + action) * time for time, action in enumerate(actions))
    assert recording.episode_return == by_hand


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_repeats_its_episode_and_greedy_play_needs_none(kind):
    coin = policy_of(KINDS[kind]())
    one, again, *others = (
        record(coin, greedy=False, seed=seed).episode_return for seed in (0, 0, 1, 2)
    )
    assert one == again
    assert {one} != set(others)
    assert record(coin, seed=1).episode_return == record(coin, seed=2).episode_return


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_may_be_stopped(kind):
    recording = record(policy_of(KINDS[kind](), FIRST), max_steps=4)
    assert times(recording) == [0, 1, 2, 3, 4]
    assert recording.episode_return == 0 + 1 + 2 + 3
    assert not recording.finished
    longer = record(policy_of(KINDS[kind](), FIRST), max_steps=1000)
    assert longer.episode_length == LENGTH


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_may_be_left_out_but_never_the_last(kind):
    recording = record(policy_of(KINDS[kind](), FIRST), frames_per_second=12)
    assert times(recording) == [0, 4, 8, 9]  # 40 / 4 is the first rate below 12
    assert recording.frames_per_second == 10
    assert recording.episode_return == SUM


def test_actions_that_are_held_take_their_time():
    recording = record(policy_of(ActionRepeat(CompiledClock(), 2), FIRST))
    assert times(recording) == [0, 2, 4, 6, 8, 9]
    assert recording.frames_per_second == 20
    assert recording.episode_return == SUM


@pytest.mark.parametrize(
    ("option", "value"),
    [("agent", -1), ("seed", 0.5), ("max_steps", 0), ("frames_per_second", 0.0)],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        record(policy_of(CompiledClock()), **{option: value})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Shy", "gymnasium:ShyClock-v0 "),
        ("Undressed", r"must be uint8 \[H, W, 3\]; got uint8 \[4, 6\]"),
        ("Uninstalled", "rendered here: it needs `pip install easel`$"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium's own, before it fails
def test_what_gymnasium_cannot_draw_is_refused_in_one_line(name, reason):
    with pytest.raises(ValueError, match=reason) as error:
        record(policy_of(GymnasiumEnvironment(f"{name}Clock-v0")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["probe:action", "gymnax:UmbrellaChain-bsuite"])
def test_what_has_no_pictures_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match=f"^{name} cannot be rendered") as error:
        record(policy_of(make_environment(name)))
    assert "\n" not in str(error.value)


class OwnClock(GymnasiumEnvironment):
    """A simulator of the user's own, made by a function."""

    def __init__(self, num_envs, seed, render_mode="rgb_array"):
        one = [lambda: HostClock(render_mode)] * num_envs
        mode = gymnasium.vector.AutoresetMode.NEXT_STEP
        vector = gymnasium.vector.SyncVectorEnv(one, autoreset_mode=mode)
        super().__init__(vector, seed=seed, max_episode_steps=50)


def test_a_simulator_of_ones_own_is_drawn():
    policy = policy_of(OwnClock(1, 0), FIRST)._replace(given=OwnClock)
    recording = record(policy)
    assert times(recording) == list(range(LENGTH + 1))
    assert recording.frames_per_second == 40


class WithoutPictures:
    """A simulator on the host that cannot draw."""

    name, max_episode_steps, num_envs = "mine:dark", 5, 1
    observation_space, action_space = Box.uniform((1,)), Discrete(2)
    open = 0

    def __init__(self, num_envs=1, seed=0):
        WithoutPictures.open += 1

    def close(self):
        WithoutPictures.open -= 1

    reset = send = receive = restart = None


def test_a_simulator_without_render_is_refused_and_closed():
    policy = policy_of(WithoutPictures())._replace(given=WithoutPictures)
    before = WithoutPictures.open
    with pytest.raises(ValueError, match="mine:dark cannot be rendered"):
        record(policy)
    assert WithoutPictures.open == before


# What gymnax has, drawn here.

STATELESS = {"MemoryChain", "UmbrellaChain", "DiscountingChain", "SimpleBandit"} | {
    "BernoulliBandit",
    "GaussianBandit",
}


@pytest.mark.parametrize("name", sorted(set(names()) - {"MNISTBandit-bsuite"}))
def test_gymnax_is_drawn_unless_there_is_nothing_to_see(name):
    environment = GymnaxEnvironment(name)
    if name.partition("-")[0] in STATELESS:
        with pytest.raises(ValueError, match="cannot be rendered"):
            watching._find_drawing(environment)
        return
    draw, rate = watching._find_drawing(environment)
    assert 1 <= rate <= 100
    env_state, observation = environment.reset(jax.random.key(0))
    frame = draw(env_state, np.asarray(observation))
    assert frame.dtype == np.uint8
    assert frame.ndim == frame.shape[2] == 3
    assert 100 <= min(frame.shape[:2]) <= max(frame.shape[:2]) <= 320
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 1


def test_an_episode_of_cartpole_is_a_moving_picture():
    recording = record(policy_of(make_environment("gymnax:CartPole-v1"), FIRST))
    assert recording.finished
    assert recording.episode_return == recording.episode_length < 20  # a push, a fall
    assert len(recording.frames) == recording.episode_length + 1
    assert recording.frames_per_second == 50
    # A push changes the velocity first, and the position only with the step after it.
    for before, after in zip(recording.frames[1:], recording.frames[2:]):
        assert (before != after).any()


def middle_of(frame, paint):
    """Return the middle of all that is painted so, from −1 to 1, y upwards."""
    wanted = np.array([int(paint[i : i + 2], 16) for i in (1, 3, 5)])
    rows, columns = np.nonzero((np.abs(frame - wanted) <= 2).all(-1))
    height, width, _ = frame.shape
    return 2 * columns.mean() / width - 1, 1 - 2 * rows.mean() / height


def state(**values):
    return types.SimpleNamespace(**values)


def test_a_pole_leans_where_its_angle_points_and_the_cart_is_where_it_is():
    def draw(x, theta):
        return drawings.DRAWINGS["CartPole-v1"](state(x=x, theta=theta))

    left, right = (middle_of(draw(0.0, t), drawings.ROD)[0] for t in (-0.5, 0.5))
    assert -0.2 < left < -0.05 < 0.05 < right < 0.2
    cart, _ = middle_of(draw(1.3, 0.0), drawings.INK)
    assert cart == pytest.approx(0.5, abs=0.01)  # of 2.6


def test_a_pendulum_stands_at_angle_0_and_turns_counter_clockwise():
    def rod(theta):
        draw = drawings.DRAWINGS["Pendulum-v1"]
        return middle_of(draw(state(theta=theta)), drawings.ROD)

    x, y = rod(0.0)
    assert abs(x) < 0.02 < 0.3 < y
    x, y = rod(np.pi / 2)
    assert x < -0.3 < -0.02 < y < 0.02
    assert rod(np.pi)[1] < -0.3


def test_an_acrobot_hangs_at_angle_0_and_its_elbow_adds_to_its_shoulder():
    def rods(one, two):
        draw = drawings.DRAWINGS["Acrobot-v1"]
        return middle_of(draw(state(joint_angle1=one, joint_angle2=two)), drawings.ROD)

    assert rods(0.0, 0.0)[1] < -0.3
    assert rods(np.pi, 0.0)[1] > 0.3
    assert rods(0.0, np.pi)[1] == pytest.approx(-0.23, abs=0.05)  # folded
    assert rods(np.pi / 2, 0.0)[0] > 0.3


def test_a_mountain_car_is_on_its_hill():
    draw = drawings.DRAWINGS["MountainCar-v0"]
    valley, flag = (draw(state(position=x)) for x in (-np.pi / 6, 0.5))
    low, high = middle_of(valley, drawings.ROD), middle_of(flag, drawings.ROD)
    assert low[1] < -0.5 < 0.5 < high[1]
    assert low[0] < high[0]


def test_channels_are_painted_cell_by_cell():
    cells = np.zeros((10, 10, 4))
    cells[2, 7, 0] = cells[9, 0, 3] = cells[9, 0, 1] = 1
    frame = drawings.draw_channels(cells)
    small = frame[::32, ::32]
    assert (frame == small.repeat(32, 0).repeat(32, 1)).all()
    np.testing.assert_array_equal(small[2, 7], drawings.PALETTE[1])
    np.testing.assert_array_equal(small[9, 0], drawings.PALETTE[4])  # the last of two
    background = (small == drawings.PALETTE[0]).all(-1)
    assert background.sum() == 98


def test_a_maze_shows_its_agent_and_its_goal():
    environment = GymnaxEnvironment("FourRooms-misc")
    draw, _ = watching._find_drawing(environment)
    env_state, observation = environment.reset(jax.random.key(1))
    small = draw(env_state, observation)[::24, ::24]
    np.testing.assert_array_equal(small[tuple(env_state.pos)], drawings.TILES[3])
    np.testing.assert_array_equal(small[tuple(env_state.goal)], drawings.TILES[2])
    assert (small[0] == drawings.TILES[1]).all()  # the outer wall


# Videos.


def striped(count, rate, size=(8, 6)):
    """A recording whose pictures are all different, and clearly so."""
    grey = np.linspace(0, 255, count).astype(np.uint8)
    frames = [np.full((*size, 3), g) for g in grey]
    return Recording(frames, rate, 1.0, count - 1, True)


def read_gif(path):
    with Image.open(path) as image:
        frames = [
            (np.asarray(frame.convert("RGB")), frame.info["duration"])
            for frame in ImageSequence.Iterator(image)
        ]
        return *map(list, zip(*frames)), image.info


@pytest.mark.parametrize(
    ("count", "rate", "every"),
    [(12, 10.0, 1), (12, 25.0, 1), (13, 15.0, 1), (13, 50.0, 2), (12, 125.0, 5)],
)
def test_a_gif_plays_in_real_time_at_25_pictures_a_second_at_most(
    tmp_path, count, rate, every
):
    path = tmp_path / "agent.gif"
    recording = striped(count, rate)
    write_video(path, recording)
    frames, durations, info = read_gif(path)
    kept = [i for i in range(count) if (count - 1 - i) % every == 0]  # the last always
    expected = [recording.frames[i][0, 0, 0] for i in kept]
    assert [len(frame.shape) for frame in frames] == [3] * len(kept)
    np.testing.assert_allclose([frame[0, 0, 0] for frame in frames], expected, atol=4)
    assert sum(durations) == pytest.approx(1000 * len(kept) * every / rate, abs=5)
    assert min(durations) >= 40
    assert info["loop"] == 0  # for ever
    assert [path.name for path in tmp_path.iterdir()] == ["agent.gif"]


def test_a_gif_keeps_the_colors_of_drawings(tmp_path):
    rng = np.random.default_rng(0)
    frames = [
        drawings.draw_channels(rng.random((10, 10, 10)) < 0.05) for _ in range(30)
    ]
    write_video(tmp_path / "agent.gif", Recording(frames, 10.0, 0.0, 29, True))
    read, _, _ = read_gif(tmp_path / "agent.gif")
    np.testing.assert_array_equal(read, frames)


def test_white_stays_white_in_a_gif(tmp_path):
    draw = drawings.DRAWINGS["MountainCar-v0"]
    frames = [draw(state(position=x)) for x in np.linspace(-1, 0.5, 30)]
    write_video(tmp_path / "agent.gif", Recording(frames, 30.0, 0.0, 29, True))
    read, _, _ = read_gif(tmp_path / "agent.gif")
    for before, after in zip(frames[::-1][::2], read[::-1]):
        assert (after[(before == 255).all(-1)] == 255).all()


def test_pictures_that_stand_still_take_their_time(tmp_path):
    still = [np.full((8, 6, 3), g, np.uint8) for g in (0, 0, 0, 200, 200)]
    write_video(tmp_path / "agent.gif", Recording(still, 10.0, 0.0, 4, True))
    assert sum(read_gif(tmp_path / "agent.gif")[1]) == 500


def test_a_gif_is_narrow(tmp_path):
    write_video(tmp_path / "agent.gif", striped(3, 10.0, size=(400, 600)))
    frames, _, _ = read_gif(tmp_path / "agent.gif")
    assert frames[0].shape == (213, 320, 3)


def test_a_gif_that_would_be_large_is_made_smaller(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    black_or_white = rng.integers(0, 2, (41, 30, 320, 1), np.uint8) * 255
    frames = list(black_or_white.repeat(3, -1))
    recording = Recording(frames, 20.0, 0.0, 40, True)
    monkeypatch.setattr(video, "GIF_BYTES", 25_000)
    write_video(tmp_path / "agent.gif", recording)
    small, durations, _ = read_gif(tmp_path / "agent.gif")
    assert (tmp_path / "agent.gif").stat().st_size < 25_000
    assert len(small) == 21  # ten a second
    assert small[0].shape == (15, 160, 3)
    assert sum(durations) == 2100


def test_a_recording_becomes_a_gif_of_as_many_pictures(tmp_path):
    recording = record(policy_of(CompiledClock(), FIRST), frames_per_second=20)
    write_video(tmp_path / "agent.gif", recording)
    frames, durations, _ = read_gif(tmp_path / "agent.gif")
    assert len(frames) == len(recording.frames) == 6
    assert sum(durations) == 300
    np.testing.assert_array_equal(frames, recording.frames)


@pytest.mark.parametrize("path", ["agent.avi", "agent", ".gif", "gif"])
def test_other_endings_are_refused(tmp_path, path):
    with pytest.raises(ValueError, match=r"must end in \.gif or \.mp4; got .*"):
        write_video(tmp_path / path, striped(2, 10.0))
    assert not list(tmp_path.iterdir())


def test_mp4_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_suffix("agent.GIF")
    with pytest.raises(ValueError, match=r"pip install 'trpo-jax\[video\]'") as error:
        write_video(tmp_path / "agent.mp4", striped(2, 10.0))
    assert "\n" not in str(error.value)


def test_a_video_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "agent.gif"
    path.write_bytes(b"old")

    def fail(path, recording):
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(video, "_write_gif", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_video(path, striped(2, 10.0))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [(64, 48), (63, 49)])
def test_an_mp4_has_every_picture(tmp_path, size):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "agent.mp4"
    write_video(path, striped(30, 15.0, size))
    assert [path.name for path in tmp_path.iterdir()] == ["agent.mp4"]
    frames, seconds = ffmpeg.count_frames_and_secs(str(path))
    assert frames == 30
    assert seconds == pytest.approx(2.0, abs=0.07)
    command = [ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    told = subprocess.run(command, capture_output=True, check=False).stderr.decode()
    assert f"{size[1] + size[1] % 2}x{size[0] + size[0] % 2}" in told


def test_an_mp4_that_cannot_be_written_says_so(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(OSError, match=r"^ffmpeg: .*No such file"):
        write_video(tmp_path / "nowhere" / "agent.mp4", striped(2, 10.0, (64, 48)))


# Other simulators, where they are installed.


@contextlib.contextmanager
def skip_without_opengl():
    """For MuJoCo: a machine without a screen needs EGL."""
    try:
        yield
    except ValueError as error:
        if "apt install" in str(error) or "process of its own" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize(
    ("name", "rate", "shape", "size"),
    [
        ("CartPole-v1", 50, (400, 600, 3), 2),
        ("LunarLander-v3", 50, (400, 600, 3), 4),
        ("Pong-v5", 15, (210, 160, 3), 6),
    ],
)
def test_envpool_is_drawn(name, rate, shape, size):
    pytest.importorskip("envpool")
    from trpo_jax.environments.envpool import EnvpoolEnvironment

    coin = policy_of(EnvpoolEnvironment(name), size=size)
    recording = record(coin, max_steps=6, greedy=False)
    assert recording.frames_per_second == rate
    assert [frame.shape for frame in recording.frames] == [shape] * 7
    assert (recording.frames[0] != recording.frames[-1]).any()


class Same(NamedTuple):
    """A distribution on one action."""

    action: jax.Array

    def mode(self):
        return self.action

    def sample(self, key):
        return self.action

    def log_prob(self, action):
        return jnp.zeros(action.shape[:-1])


def test_envpool_draws_mujoco_with_the_sky_above():
    pytest.importorskip("envpool")
    from trpo_jax.environments.envpool import EnvpoolEnvironment

    saved = policy_of(EnvpoolEnvironment("Hopper-v4"))
    kick = Network(None, lambda params, x: Same(jnp.full((len(x), 3), 0.5)))
    with skip_without_opengl():
        recording = record(saved._replace(agent=Agent(kick, kick)), max_steps=3)
    assert recording.frames_per_second == 125
    assert [frame.shape for frame in recording.frames] == [(480, 480, 3)] * 4
    first, last = recording.frames[0], recording.frames[-1]
    assert (first != last).any()
    sky, floor = first[:80].astype(float), first[-80:].astype(float)
    assert floor.std() > 2 * sky.std()  # a chessboard
    assert sky[..., 2].mean() > sky[..., 0].mean() + 10  # blue


def test_envpool_refuses_where_its_mujoco_would_end_the_process(monkeypatch):
    pytest.importorskip("envpool")
    import trpo_jax.environments.envpool as adapter

    monkeypatch.setattr(adapter, "_all_see_opengl", lambda: True)
    monkeypatch.setattr(adapter, "_OPENGL_CAME_FIRST", False)
    adapter._let_mujoco_find_opengl.cache_clear()
    with pytest.raises(ValueError, match=r"Hopper-v4 cannot .* another OpenGL") as said:
        record(policy_of(adapter.EnvpoolEnvironment("Hopper-v4")))
    assert "\n" not in str(said.value)
    cartpole = policy_of(adapter.EnvpoolEnvironment("CartPole-v1"))
    assert record(cartpole, max_steps=1).episode_length == 1  # has no MuJoCo in it


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is a screen")
@pytest.mark.parametrize(
    ("display", "chosen", "expected"),
    [("", None, "egl"), ("", "osmesa", "osmesa"), (":0", None, None)],
)
def test_mujoco_draws_with_egl_where_there_is_no_screen(
    monkeypatch, display, chosen, expected
):
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL")
    if chosen:
        monkeypatch.setenv("MUJOCO_GL", chosen)
    camera.choose_opengl()
    assert os.environ.get("MUJOCO_GL") == expected


def test_envpool_that_cannot_draw_says_so():
    pytest.importorskip("envpool")
    from trpo_jax.environments.envpool import EnvpoolEnvironment

    lake = EnvpoolEnvironment("FrozenLake-v1")
    with pytest.raises(ValueError, match=r"^envpool:FrozenLake-v1 cannot be rendered"):
        record(policy_of(lake, size=4))


@pytest.mark.parametrize("simulator", ["brax", "playground"])
def test_a_ball_that_is_higher_is_drawn_higher(simulator):
    """The camera of both, on a world made here, with states built like theirs."""
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody><light pos="0 -3 3"/><body>
        <joint type="slide" axis="0 0 1"/>
        <geom type="sphere" size=".2" rgba="1 0 0 1"/></body></worldbody></mujoco>"""
    )
    brax = simulator == "brax"
    world = state(mj_model=model, dt=0.02)
    inner = state(sys=world, dt=world.dt) if brax else world
    ball = state(name=f"{simulator}:ball", simulator=inner)
    with skip_without_opengl():
        draw, rate = watching._find_drawing(ball)
    assert rate == 50
    rows = []
    for height in (0.0, 0.3):
        position, velocity = np.array([height]), np.zeros(1)
        if brax:
            now = state(pipeline_state=state(q=position, qd=velocity))
        else:
            now = state(data=state(qpos=position, qvel=velocity))
        frame = draw(state(simulator=now), np.zeros(1))
        assert frame.shape == (*camera.RENDER_SIZE, 3)
        rows.append(np.nonzero(frame[..., 0] > 100)[0].mean())
    draw.close()
    assert rows[1] < rows[0] - 20

"""Simulators on the host that raise, die and hang, and those that give their state."""

import collections
import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import trpo_jax
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.environments.gymnasium_snapshots import Snapshot, from_bytes, to_bytes
from trpo_jax.environments.host import SimulatorError
from trpo_jax.environments.watchdog import Watchdog
from trpo_jax.storage import checkpoint

SMALL = {
    "num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "critic_epochs": 1,
    "critic_minibatch_size": 8, "evaluation_episodes": 1,
}  # fmt: skip
AT_STEP = 37  # of an environment: in the fifth iteration


class Faulty(gymnasium.Env):
    """A coin to be guessed, until `fault()` at step 37 of a process."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    spec = None
    steps = 0

    def __init__(self, fault):
        self._fault = fault

    def _see(self):
        self._coin = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self._coin]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._see(), {}

    def step(self, action):
        self.steps += 1
        if self.steps == AT_STEP:
            self._fault()
        reward = float(action == self._coin)
        return self._see(), reward, bool(self.np_random.random() < 0.1), False, {}


def fail():
    raise LookupError("the coin is lost")


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    time.sleep(600)


def hang_for_good():
    """Lock a mutex twice, in native code that no signal gets out of."""
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


def maker(fault, workers=False, made=None):
    """Return what makes environments, and lists worker processes in `made`."""

    def make(num_envs, seed):
        one = [functools.partial(Faulty, fault)] * num_envs
        if workers:
            vector = AsyncVectorEnv(one, context="forkserver")
            made.extend(vector.processes)
        else:
            vector = SyncVectorEnv(one, autoreset_mode=AutoresetMode.SAME_STEP)
        return GymnasiumEnvironment(
            vector, seed=seed, name="Faulty", max_episode_steps=100, timeout=2.0
        )

    return make


@pytest.mark.parametrize(
    ("fault", "workers", "said"),
    [
        (fail, False, "LookupError: the coin is lost"),
        (fail, True, "LookupError: the coin is lost"),
        (kill_itself, True, "ended with exit code -9"),
        (hang, True, "no answer for 2 seconds"),
        (hang, False, "no answer for 1 seconds"),
    ],
)
def test_a_fault_at_step_37_leaves_a_run_that_goes_on(fault, workers, said, tmp_path):
    processes = []
    run = tmp_path / "run"
    timeout = 0.0 if workers else 1.0
    with pytest.raises(SimulatorError) as error:
        trpo_jax.train(
            maker(fault, workers, processes), total_steps=1600, output_dir=run,
            progress=False, checkpoint_every=2, simulator_timeout=timeout, **SMALL,
        )  # fmt: skip
    assert said in str(error.value)
    assert f"resume with: trpo-jax resume {run}" in error.value.__notes__[0]
    assert bool(processes) == workers
    assert not any(process.is_alive() for process in processes)
    (*_, newest) = checkpoint.steps_in(run / "checkpoints")
    assert newest == 4
    sound = maker(lambda: None)
    result = trpo_jax.resume(run, total_steps=96, environment=sound, progress=False)
    assert result.metrics.kl.shape == (1, 6)
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["iteration"] for row in rows] == [*range(1, 7)]


@pytest.mark.parametrize("fault", ["fail", "hang", "hang_for_good", "swallow"])
def test_a_fault_ends_the_command_with_1(fault, tmp_path):
    (tmp_path / "faulty.py").write_text(
        f"""
import sys
sys.path[:0] = {sys.path!r}
import gymnasium, pathlib
from test_simulators import Faulty, {fault}

def fault():
    pathlib.Path("began").touch()
    {fault}()

gymnasium.register("Faulty-v0", lambda: Faulty(fault), max_episode_steps=100)
""",
        encoding="utf-8",
    )
    options = [
        word
        for name, value in SMALL.items()
        for word in (
            f"--{name.replace('_', '-')}",
            *map(str, value if isinstance(value, tuple) else [value]),
        )
    ]
    command = [
        sys.executable, "-m", "trpo_jax", "train", "gymnasium:faulty:Faulty-v0",
        *options, "--total-steps", "1600", "--output-dir", "run",
        "--checkpoint-every", "2", "--simulator-timeout", "1",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    ended = time.time()
    assert done.returncode == 1, done.stderr
    assert ended - (tmp_path / "began").stat().st_mtime < 10
    said = {
        "fail": "LookupError: the coin is lost",
        "hang": "no answer for 1 seconds",
        "hang_for_good": "no answer for 1 seconds, nor to an interrupt",
        "swallow": "no answer for 1 seconds, nor to an interrupt",
    }
    assert said[fault] in done.stderr
    stacks = fault in ("hang_for_good", "swallow")
    assert "trpo_jax/cli/main.py" not in done.stderr or stacks
    assert f"in {fault}" in done.stderr  # where it was
    assert checkpoint.steps_in(tmp_path / "run" / "checkpoints")[-1] == 4


class Walk(gymnasium.Env):
    """A random walk with a state that can be had."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x += 0.5 * (2 * action - 1) + self.np_random.normal()
        return np.array([self.x], np.float32), self.x, abs(self.x) > 4, False, {}

    def clone_state(self, include_rng):
        return {"x": self.x, "more": (np.arange(3), [2**70, None, b"\0", "é", True])}

    def restore_state(self, state):
        assert type(state["more"]) is tuple
        assert state["more"][1] == [2**70, None, b"\0", "é", True]
        self.x = state["x"]


def walks(num_envs, seed):
    one = lambda: gymnasium.wrappers.TimeLimit(Walk(), 20)  # noqa: E731
    vector = SyncVectorEnv([one] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    return GymnasiumEnvironment(vector, seed=seed, name="Walk", max_episode_steps=20)


def pong(num_envs, seed):
    return GymnasiumEnvironment(
        "ale_py:ALE/Pong-v5", num_envs, seed, obs_type="ram", max_episode_steps=30
    )


@pytest.mark.parametrize("make", [walks, pong])
def test_simulators_that_give_their_state_go_on_where_they_were(make, tmp_path, capfd):
    if make is pong:
        pytest.importorskip("ale_py")

    def run(name, steps, **more):
        return trpo_jax.train(
            make, total_steps=steps, output_dir=tmp_path / name, progress=False,
            seeds=2, **{**SMALL, "evaluation_episodes": 1, **more},
        )  # fmt: skip

    run("whole", 96)
    run("half", 48)
    capfd.readouterr()
    trpo_jax.resume(tmp_path / "half", total_steps=96, environment=make, progress=False)
    assert "new episodes" not in capfd.readouterr().err
    for name in ("metrics.jsonl", "policy.safetensors"):
        whole, half = (
            (tmp_path / run / name).read_bytes() for run in ("whole", "half")
        )
        assert whole == half, name


@pytest.mark.parametrize("cut", [10, 32, 80])
def test_an_emulator_with_sticky_actions_goes_on_as_it_would_have(cut):
    pytest.importorskip("ale_py")
    actions = np.random.default_rng(0).integers(0, 6, (cut + 20, 2))

    def play(environment, actions):
        for action in actions:
            environment.send(action)
            yield environment.receive().next_observation

    def picture(num_envs, seed):
        return GymnasiumEnvironment("ale_py:ALE/Pong-v5", num_envs, seed)

    one, other = picture(2, 0), picture(2, 9)
    one.reset()
    list(play(one, actions[:cut]))
    saved = one.save_state()
    expected = list(play(one, actions[cut:]))
    other.reset()
    for environment in (other, one):
        environment.load_state(saved)
        found = list(play(environment, actions[cut:]))
        np.testing.assert_array_equal(found, expected)


class Leaving(Faulty):
    """Ends the process, as the author of a script may; or shows something else."""

    def __init__(self, how):
        super().__init__(lambda: None)
        self.how = how

    def step(self, action):
        if self.how == "leaves":
            sys.exit(7)
        return np.zeros(5, np.float32), *super().step(action)[1:]


@pytest.mark.parametrize(
    ("how", "said"), [("leaves", r"called sys.exit\(7\)"), ("grows", "Traceback")]
)
def test_other_ways_to_fail_are_failures_of_the_simulator(how, said):
    vector = SyncVectorEnv(
        [lambda: Leaving(how)], autoreset_mode=AutoresetMode.SAME_STEP
    )
    environment = GymnasiumEnvironment(vector, seed=0, max_episode_steps=100)
    environment.reset()
    with pytest.raises(SimulatorError, match=said):
        for _ in range(100):
            environment.send(np.zeros(1, int))
            environment.receive()


def swallow():
    """Wait, whatever is raised meanwhile, as a client of a server may."""
    while True:
        try:
            time.sleep(600)
        except Exception as error:
            print("again:", error, file=sys.stderr)


def test_a_state_that_no_simulator_takes_means_new_episodes(tmp_path, capfd):
    trpo_jax.train(
        walks, total_steps=48, output_dir=tmp_path / "run", progress=False, **SMALL
    )

    def others(num_envs, seed):
        made = walks(num_envs, seed)
        made.load_state = lambda states: from_bytes(b"not one of mine")
        return made

    result = trpo_jax.resume(
        tmp_path / "run", total_steps=96, environment=others, progress=False
    )
    said = capfd.readouterr().err
    assert "the state of a simulator cannot be read" in said
    assert "the simulators start new episodes" in said
    assert result.metrics.kl.shape == (1, 6)


def test_states_that_no_file_of_numbers_holds_are_not_kept():
    environment = walks(1, 0)
    environment.reset()
    (state,) = environment.save_state()
    assert to_bytes(from_bytes(state)) == state
    inner = environment._vector.envs[0].unwrapped
    inner.clone_state = lambda include_rng: np.array([object()])
    assert environment.save_state() is None
    inner.clone_state = lambda include_rng: lambda: None
    assert environment.save_state() is None


def test_kinds_that_would_come_back_as_others_are_not_kept():
    class Pair(NamedTuple):
        x: int

    for state in (
        Pair(1), collections.OrderedDict(a=1), np.arange(3, dtype=">f4"),
        np.array(["a"]), {1: {2}}, np.zeros(2**20),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            to_bytes(Snapshot(state, [], {}))


def test_a_state_that_cannot_be_had_does_not_end_a_run(tmp_path, capfd):
    def others(num_envs, seed):
        made = walks(num_envs, seed)

        def fail():
            raise RuntimeError("out of tape")

        made.save_state = fail
        return made

    values = {**SMALL, "progress": False}
    run = tmp_path / "run"
    result = trpo_jax.train(others, total_steps=96, output_dir=run, **values)
    assert result.metrics.kl.shape == (1, 6)
    assert "does not hold the state of the simulators: out of tape" in (
        capfd.readouterr().err
    )
    assert checkpoint.steps_in(run / "checkpoints") == [6]


def test_a_process_that_was_stopped_has_not_been_waiting():
    wake = f"sleep 1.5; kill -CONT {os.getpid()}"
    with Watchdog(0.5) as watchdog, subprocess.Popen(["sh", "-c", wake]):
        stop = watchdog.guarded("stopping", os.kill)
        stop(os.getpid(), signal.SIGSTOP)
        watchdog.guarded("working", time.sleep)(0.4)


def test_a_signal_that_comes_too_late_is_no_answer_missed():
    with Watchdog(60.0) as watchdog:
        watchdog.guarded("in time", signal.raise_signal)(signal.SIGALRM)
        signal.raise_signal(signal.SIGALRM)


def test_a_simulator_that_hangs_where_it_is_made(tmp_path):
    with pytest.raises(SimulatorError, match=r"no answer for 0\.5 seconds"):
        trpo_jax.train(
            lambda num_envs, seed: hang(), simulator_timeout=0.5, progress=False
        )


def test_a_simulator_that_hangs_where_it_ends_has_done_its_work():
    def make(num_envs, seed):
        made = walks(num_envs, seed)
        made.close = hang
        return made

    values = {**SMALL, "progress": False, "total_steps": 48}
    result = trpo_jax.train(make, simulator_timeout=0.5, **values)
    assert result.metrics.kl.shape == (1, 3)


@pytest.mark.parametrize(
    "content", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa4dict\x90", b"\xff" * 99]
)
def test_what_is_no_state_is_refused(content):
    with pytest.raises(ValueError, match="cannot be read"):
        from_bytes(content)

"""Peak memory of training: `python -m benchmarks.memory`.

One iteration is measured on an environment that only returns an observation of a given
size, for growing numbers of environments, of steps of each environment per iteration,
and of numbers in an observation. Each size has two results, measured in a new process:

* `compiled`: the most memory that the program of an iteration holds, according to the
  compiler;
* `resident`: the growth of the process at its peak while two iterations run, without
  compilation (Linux only).

`exponent` is the slope on logarithmic axes over the last three sizes.
`copies_of_an_observation` is the number of bytes that one more byte in an observation
costs, between the two largest sizes, with the weights of the first layer and their
copies included. A rollout holds two: each observation and the one that follows it. The
JSON is written at the end.
"""

import ctypes
import dataclasses
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import tyro

from benchmarks.runs import provenance
from benchmarks.throughput import exponent
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.trpo import train_step
from trpo_jax.config import Config
from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.runs.compilation import FOR_LONG, compile_for

RESULTS = pathlib.Path(__file__).parent / "results" / "memory.json"
SMALL = {"environments": 64, "steps": 64, "numbers": 16}  # one grows, two stay
GROWTH = {
    "environments": (64, 256, 1024, 4096),
    "steps": (64, 256, 1024, 4096),
    "numbers": (64, 256, 1024, 4096),
}


@dataclasses.dataclass(frozen=True)
class Show:
    """Episodes of 100 steps with observations of a given size.

    Attributes:
        numbers: the number of numbers in an observation.
    """

    numbers: int
    max_episode_steps = 100
    action_space = Discrete(2)

    @property
    def observation_space(self) -> Box:
        """The space of as many unbounded numbers."""
        return Box.uniform((self.numbers,))

    def reset(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Start an episode, whose state is the time."""
        del key
        return jnp.int32(0), jnp.zeros(self.numbers)

    def step(self, key: jax.Array, env_state: jax.Array, action: jax.Array) -> Step:
        """Take one action; the reward is its number."""
        del key
        time = env_state + 1
        return Step(
            env_state=time,
            observation=jnp.full(self.numbers, time / 100),
            reward=action.astype(jnp.float32),
            terminated=jnp.bool_(False),
            truncated=time >= self.max_episode_steps,
        )


def resident(field: str) -> int:
    """Return what the kernel reports about this process in a field, in bytes."""
    lines = pathlib.Path("/proc/self/status").read_text("ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def measure(environments: int, steps: int, numbers: int) -> dict[str, int]:
    """Measure one size, in this process."""
    environment = Show(numbers)
    config = Config(
        num_envs=environments, num_steps=steps, fisher_fraction=0.1, critic_epochs=1
    )
    agent = default_agent(
        environment.observation_space, environment.action_space, hidden_sizes=(64, 64)
    )
    state = init(jax.random.key(0), environment, agent, config)
    iterate = jax.jit(
        lambda state: train_step(state, environment, agent, config)[0],
        donate_argnums=0,
    )
    compiled = compile_for(FOR_LONG, iterate, state)
    found = compiled.memory_analysis()
    ctypes.CDLL(None).malloc_trim(0)  # return what the compiler freed
    pathlib.Path("/proc/self/clear_refs").write_text("5", "ascii")  # reset the peak
    before = resident("VmRSS")
    for _ in range(2):
        state = jax.block_until_ready(compiled(state))
    return {
        "compiled": found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
        - found.alias_size_in_bytes,
        "resident": resident("VmHWM") - before,
    }


def apart(sizes: dict[str, int]) -> dict[str, int]:
    """Measure one size in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "one", json.dumps(sizes)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print, and write the JSON."""
    result = {
        **provenance("python -m benchmarks.memory"),
        "other sizes": SMALL,
        "bytes": {},
        "exponent": {},
    }
    for part, sizes in GROWTH.items():
        found = {size: apart(SMALL | {part: size}) for size in sizes}
        result["bytes"][part] = found
        result["exponent"][part] = {
            kind: exponent(list(sizes), [of_size[kind] for of_size in found.values()])
            for kind in ("compiled", "resident")
        }
        print(part, found, result["exponent"][part], flush=True)
    *_, less, more = GROWTH["numbers"]
    rows = SMALL["environments"] * SMALL["steps"]
    result["copies_of_an_observation"] = {
        kind: round(
            (found[more][kind] - found[less][kind]) / (4 * rows * (more - less)), 2
        )
        for kind in ("compiled", "resident")
    }
    print(result["copies_of_an_observation"])
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(measure(**json.loads(sys.argv[2]))))
    else:
        tyro.cli(main, description=__doc__)

"""What a run is to do, checked before anything heavy is imported or written."""

import dataclasses
import os
import pathlib
from typing import Any, Literal

import numpy as np

from trpo_jax.config import Config, NetworkConfig, split_hyper_parameters
from trpo_jax.environments import SIMULATORS, check_name
from trpo_jax.environments.spaces import Discrete
from trpo_jax.runs.output_paths import free_directory
from trpo_jax.runs.presets import DEFAULT, preset_of
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, FLAG, NON_NEGATIVE, STEPS, check, one_of

OnCheckpointError = Literal["continue", "stop"]
REPORTS = 25  # to the host in a run, or more in a long one
SHORT_RUN = 500_000  # environment steps of all seeds of a core together
LONGEST_CHUNK = 100  # iterations between two of them
RULES = {
    "total_steps": STEPS,
    "seeds": COUNT,
    "seed": COUNT_OR_ZERO,
    "evaluation_episodes": COUNT,
    "checkpoint_every": COUNT_OR_ZERO,
    "keep": COUNT,
    "on_checkpoint_error": one_of(OnCheckpointError),
    "simulator_timeout": NON_NEGATIVE,
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run, fully specified.

    Attributes:
        environment: its name, with the simulator.
        on_host: the simulator is stepped by the host.
        total_steps: asked for, a seed; the run does the whole iterations that fit.
        seeds: K.
        seed: of the first run.
        evaluation_episodes: an agent.
        config: of the algorithm.
        network: of the standard agent.
        output_dir: where results go, or None.
        checkpoint_every: iterations between two checkpoints; 0 for one a minute, and
            one at the end either way.
        keep: newest checkpoints that stay.
        on_checkpoint_error: what happens when one cannot be written.
        simulator_timeout: seconds that a call of a simulator on the host may take; 0
            for as long as it likes.
        compile_briefly: spend less time on compiling than the fastest program would
            take; known from the length of the run, and kept when it is made longer.
    """

    environment: str
    on_host: bool
    total_steps: int
    seeds: int
    seed: int
    evaluation_episodes: int
    config: Config
    network: NetworkConfig
    output_dir: pathlib.Path | None
    checkpoint_every: int = 0
    keep: int = 2
    on_checkpoint_error: OnCheckpointError = "continue"
    simulator_timeout: float = 0.0
    compile_briefly: bool = False

    @property
    def iterations(self) -> int:
        """Whole iterations within `total_steps`."""
        return self.total_steps // self.config.steps_per_iteration

    @property
    def chunk(self) -> int:
        """Iterations between two reports to the host."""
        return min(LONGEST_CHUNK, max(1, self.iterations // REPORTS))

    def as_json(self) -> dict[str, Any]:
        """Return what `config.json` holds: enough to repeat the run."""
        content = dataclasses.asdict(self)
        del content["output_dir"]
        return content


def make_plan(
    environment: str,
    *,
    known_environment: bool = True,
    on_host: bool = False,
    total_steps: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    output_dir: str | os.PathLike | None = None,
    evaluation_episodes: int = 100,
    checkpoint_every: int = 0,
    keep: int = 2,
    on_checkpoint_error: OnCheckpointError = "continue",
    simulator_timeout: float = 0.0,
    compile_briefly: bool | None = None,
    **hyper_parameters: Any,
) -> Plan:
    """Check everything that can be known in advance, presets filled in.

    Args: as in `train`; `known_environment` is False for one that has no name to look
    up, and `on_host` then says who steps it.

    Raises:
        ValueError: with name, rule, value and a way out.
    """
    preset = DEFAULT
    if known_environment:
        simulator, task = check_name(environment)
        environment = f"{simulator}:{task}"
        on_host = SIMULATORS[simulator].on_host
        preset = preset_of(environment)
    algorithm, network = split_hyper_parameters(hyper_parameters)
    for name, value in algorithm.items():
        if np.ndim(value):
            raise ValueError(
                f"{name} must be one value; got {value!r}: for a sweep, jax.vmap over "
                "Config, see examples/sweep.py"
            )
        if hasattr(value, "item"):  # a scalar of numpy or JAX
            algorithm[name] = value.item()  # which JSON can hold
    config = dataclasses.replace(preset.config, **algorithm)
    config = dataclasses.replace(  # what depends on the size, in numbers
        config,
        fisher_fraction=config.fraction_in_products(config.batch_size),
        critic_minibatch_size=config.minibatch_of(config.batch_size),
    )
    network_config = dataclasses.replace(preset.network, **network)
    if on_host and config.action_repeat > 1:
        raise ValueError(
            f"action_repeat must be 1 for a simulator on the host; got "
            f"{config.action_repeat}: its own frame_skip may do it"
        )
    total_steps = preset.total_steps if total_steps is None else total_steps
    check_values(
        total_steps=total_steps,
        seeds=seeds,
        seed=seed,
        evaluation_episodes=evaluation_episodes,
        checkpoint_every=checkpoint_every,
        keep=keep,
        on_checkpoint_error=on_checkpoint_error,
        simulator_timeout=simulator_timeout,
    )
    if simulator_timeout and not on_host:
        raise ValueError(
            "simulator_timeout must be 0 for a simulator inside the compiled program; "
            f"got {simulator_timeout!r}"
        )
    if compile_briefly is None:
        of_a_core = -(-seeds // min(seeds, cores()))
        compile_briefly = of_a_core * total_steps <= SHORT_RUN
    check("compile_briefly", compile_briefly, FLAG)
    total_steps, seeds, seed, evaluation_episodes = map(
        int, (total_steps, seeds, seed, evaluation_episodes)
    )
    if seed + seeds > 2**31:
        raise ValueError(f"seed + seeds must be <= 2147483648; got {seed} + {seeds}")
    if config.sampling == "single_path":  # otherwise when the actions are known
        _require_one_batch(total_steps, config)
    if total_steps // config.steps_per_iteration >= 2**31:
        raise ValueError(
            "total_steps must be < 2**31 iterations of num_envs x num_steps x "
            f"action_repeat = {config.steps_per_iteration}; got {total_steps}"
        )
    return Plan(
        environment=environment,
        on_host=on_host,
        total_steps=total_steps,
        seeds=seeds,
        seed=seed,
        evaluation_episodes=evaluation_episodes,
        config=config,
        network=network_config,
        output_dir=None if output_dir is None else free_directory(output_dir),
        checkpoint_every=int(checkpoint_every),
        keep=int(keep),
        on_checkpoint_error=on_checkpoint_error,
        simulator_timeout=float(simulator_timeout),
        compile_briefly=compile_briefly,
    )


def check_values(**values: Any) -> None:
    """Refuse values of a run, by name, that break their rules.

    Raises:
        ValueError: with the name, the rule and the value.
    """
    for name, value in values.items():
        if name == "output_dir":
            free_directory(value)
        else:
            check(name, value, RULES[name])


def _require_one_batch(total_steps: int, config: Config) -> None:
    """Refuse a budget that not even one iteration fits in.

    Raises:
        ValueError: with what an iteration is made of.
    """
    if total_steps < config.steps_per_iteration:
        raise ValueError(
            f"total_steps must be >= one batch, {_batch_in_words(config)} = "
            f"{config.steps_per_iteration}; got {total_steps}"
        )


def _batch_in_words(config: Config) -> str:
    """Return what makes up the steps of an iteration, in names and in numbers."""
    names, numbers = "num_envs x num_steps", f"{config.num_envs} x {config.num_steps}"
    if config.sampling == "vine":
        names = "num_envs x (num_steps + vine_states x vine_actions x vine_steps)"
        numbers = (
            f"{config.num_envs} x ({config.num_steps} + {config.vine_states} x "
            f"{config.vine_actions} x {config.vine_steps})"
        )
    return f"{names} x action_repeat = {numbers} x {config.action_repeat}"


def complete(plan: Plan, environment: Any) -> Plan:
    """Return the plan with what could only be known once the environment was made.

    A vine tries no more actions than there are, and schedules have the length of the
    run.

    Raises:
        ValueError: for uniform proposals of actions that are not discrete, a spread of
            actions that are, and for a vine in an environment on the host that gives no
            snapshots.
    """
    config, action_space = plan.config, environment.action_space
    discrete = isinstance(action_space, Discrete)
    branches = not plan.on_host or getattr(environment, "can_branch", False)
    if config.sampling == "vine" and not branches:
        raise ValueError(
            f"sampling must be single_path in {environment.name}; got vine, which "
            "branches from snapshots: those of gymnax, brax, Playground and "
            "gymnasium:ALE can be had"
        )
    if config.sampling == "vine" and not discrete and config.vine_proposal == "uniform":
        raise ValueError(
            "vine_proposal must be policy for continuous actions; got uniform"
        )
    spread = plan.network.log_std_init
    if discrete and spread != NetworkConfig().log_std_init:
        raise ValueError(
            f"log_std_init must be left out for the discrete actions of "
            f"{environment.name}; got {spread}"
        )
    if config.sampling == "vine" and discrete:
        tried = min(config.vine_actions, action_space.n)
        config = dataclasses.replace(config, vine_actions=tried)
        plan = dataclasses.replace(plan, config=config)
    _require_one_batch(plan.total_steps, config)
    if not config.max_kl_final == config.critic_learning_rate_final == 1:
        length = config.schedule_iterations or plan.iterations
        config = dataclasses.replace(config, schedule_iterations=length)
    return dataclasses.replace(plan, config=config)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

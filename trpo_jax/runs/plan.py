"""What a run is to do, checked before anything heavy is imported or written."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.config.fields import replace_options, unused_fields
from trpo_jax.config.options import split_options
from trpo_jax.environments import SIMULATORS, check_name
from trpo_jax.environments.nested import leaves_of
from trpo_jax.environments.spaces import Box, Discrete, Space
from trpo_jax.runs.output_paths import free_directory
from trpo_jax.runs.presets import DEFAULT, preset_of
from trpo_jax.validation import FLAG, check

FORMAT = 2  # of config.json; that of trpo_jax 0.1 had no such number
REPORTS = 25  # to the host during a run; a long run makes more
SHORT_RUN = 500_000  # environment steps of all seeds that share a core
LONGEST_CHUNK = 100  # iterations between two reports


@dataclasses.dataclass(frozen=True)
class Plan:
    """The complete specification of a run.

    Attributes:
        environment: the name of the environment, with its simulator.
        on_host: whether Python steps the simulator, outside compiled programs.
        run: the options of the run; `total_steps` is a number here.
        config: the hyper-parameters of the algorithm.
        network: the shape of the standard agent.
        compile_briefly: whether to spend less time on compilation than the fastest
            program would take. It follows from the length of the run, and stays as it
            is when a run is resumed for longer.
    """

    environment: str
    on_host: bool
    run: RunConfig
    config: Config
    network: NetworkConfig
    compile_briefly: bool = False

    @property
    def iterations(self) -> int:
        """The number of whole iterations within `run.total_steps`."""
        assert self.run.total_steps is not None
        return self.run.total_steps // self.config.steps_per_iteration

    @property
    def chunk(self) -> int:
        """The largest number of iterations between two reports to the host."""
        return min(LONGEST_CHUNK, max(1, self.iterations // REPORTS))

    @property
    def output_dir(self) -> pathlib.Path | None:
        """The directory of the results, or None if nothing is written."""
        directory = self.run.output_dir
        return None if directory is None else pathlib.Path(directory)

    @property
    def directory(self) -> pathlib.Path:
        """The directory of the results, for where it is known that there is one."""
        assert self.output_dir is not None
        return self.output_dir

    def with_run(self, **changes: Any) -> "Plan":
        """Return a plan with other values of fields of `RunConfig`.

        >>> make_plan("CartPole-v1").with_run(seeds=3).run.seeds
        3
        """
        return dataclasses.replace(self, run=dataclasses.replace(self.run, **changes))

    def as_json(self) -> dict[str, Any]:
        """Return the content of `config.json`, which suffices to repeat the run.

        The output directory is left out.

        >>> make_plan("CartPole-v1", seeds=3).as_json()["run"]["seeds"]
        3
        """
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        del content["run"]["output_dir"]
        return content


def make_plan(
    environment: str,
    *,
    known_environment: bool = True,
    on_host: bool = False,
    compile_briefly: bool | None = None,
    **options: Any,
) -> Plan:
    """Fill in the preset and check everything that can be known in advance.

    The options are fields of `RunConfig`, `Config` and `NetworkConfig`; the other
    arguments are fields of `Plan`. The name of a known environment is looked up; one of
    the user's own has no preset. Raise `ValueError` for a bad value.

    >>> make_plan("CartPole-v1", total_steps=4096).iterations
    4
    """
    preset = DEFAULT
    if known_environment:
        simulator, task = check_name(environment)
        environment = f"{simulator}:{task}"
        on_host = SIMULATORS[simulator].on_host
        preset = preset_of(environment)
    given, algorithm, network = split_options(options)
    sweep = ": for a sweep, jax.vmap over Config, see examples/sweep.py"
    network_config = replace_options(preset.network, **network)
    if network_config.shared_trunk:
        algorithm = {"critic_method": "joint"} | algorithm
    config = replace_options(preset.config, **_single_values(algorithm, sweep))
    config = _with_sizes(config)
    run = RunConfig(**_single_values(given))
    total_steps = run.total_steps or preset.total_steps
    run = dataclasses.replace(run, total_steps=total_steps)
    if compile_briefly is None:
        seeds_of_a_core = -(-run.seeds // min(run.seeds, cores()))
        compile_briefly = seeds_of_a_core * total_steps <= SHORT_RUN
    check("compile_briefly", compile_briefly, FLAG)
    plan = Plan(environment, on_host, run, config, network_config, compile_briefly)
    _check_together(plan)
    if plan.output_dir is not None:
        free_directory(plan.output_dir)
    return plan


def _single_values(values: dict[str, Any], advice: str = "") -> dict[str, Any]:
    """Return values that JSON can hold, in place of scalars of numpy or JAX."""
    for name, value in values.items():
        if np.ndim(value):
            raise ValueError(f"{name} must be one value; got {value!r}{advice}")
    return {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}


def _with_sizes(config: Config) -> Config:
    """Return a config in which values that follow from the batch size are numbers."""
    sizes: dict[str, Any] = {
        "fisher_fraction": config.fraction_in_products(config.batch_size),
        "critic_minibatch_size": config.minibatch_of(config.batch_size),
    }
    for field in unused_fields(config):
        sizes.pop(field.name, None)
    return dataclasses.replace(config, **sizes)


def _check_together(plan: Plan) -> None:
    """Refuse values that are fine alone and wrong together."""
    run, config = plan.run, plan.config
    if plan.on_host and config.action_repeat > 1:
        raise ValueError(
            f"action_repeat must be 1 for a simulator on the host; got "
            f"{config.action_repeat}: use the frame_skip of the simulator"
        )
    if plan.network.shared_trunk and config.critic_method != "joint":
        raise ValueError(
            f"critic_method must be joint with shared_trunk; got {config.critic_method}"
        )
    if run.simulator_timeout and not plan.on_host:
        raise ValueError(
            "simulator_timeout must be 0 for a simulator inside the compiled program; "
            f"got {run.simulator_timeout!r}"
        )
    if run.seed + run.seeds > 2**31:
        raise ValueError(
            f"seed + seeds must be <= 2147483648; got {run.seed} + {run.seeds}"
        )
    if config.sampling == "single_path":  # a vine's actions are not yet known
        _require_one_batch(plan)
    if plan.iterations >= 2**31:
        raise ValueError(
            "total_steps must be < 2**31 iterations of num_envs x num_steps x "
            f"action_repeat = {config.steps_per_iteration}; got {run.total_steps}"
        )


def _require_one_batch(plan: Plan) -> None:
    """Refuse a run that is shorter than one iteration."""
    if plan.iterations > 0:
        return
    config = plan.config
    names, numbers = "num_envs x num_steps", f"{config.num_envs} x {config.num_steps}"
    if config.sampling == "vine":
        names = "num_envs x (num_steps + vine_states x vine_actions x vine_steps)"
        numbers = (
            f"{config.num_envs} x ({config.num_steps} + {config.vine_states} x "
            f"{config.vine_actions} x {config.vine_steps})"
        )
    raise ValueError(
        f"total_steps must be >= one batch, {names} x action_repeat = {numbers} x "
        f"{config.action_repeat} = {config.steps_per_iteration}; got "
        f"{plan.run.total_steps}"
    )


def complete(plan: Plan, environment: Any) -> Plan:
    """Return the plan with the values that follow from the environment's spaces.

    A vine tries no more actions than there are, and schedules last as long as the run
    unless `schedule_iterations` says otherwise. Raise `ValueError` for values that do
    not fit the spaces.
    """
    config, action_space = plan.config, environment.action_space
    discrete = isinstance(action_space, Discrete)
    branches = not plan.on_host or getattr(environment, "can_branch", False)
    if config.sampling == "vine" and not branches:
        raise ValueError(
            f"sampling must be single_path in {environment.name}; got vine, which "
            "needs snapshots: gymnax, brax, Playground and gymnasium:ALE give them"
        )
    if config.sampling == "vine" and not discrete and config.vine_proposal == "uniform":
        raise ValueError(
            "vine_proposal must be policy for actions that are not one Discrete; got "
            "uniform"
        )
    log_std_init = plan.network.log_std_init
    own = not isinstance(action_space, Space)
    continuous = own or any(isinstance(x, Box) for x in leaves_of(action_space))
    if not continuous and log_std_init != NetworkConfig().log_std_init:
        raise ValueError(
            f"log_std_init must be left out for the discrete actions of "
            f"{environment.name}; got {log_std_init}"
        )
    if config.sampling == "vine" and discrete:
        tried = min(config.vine_actions, action_space.n)
        config = dataclasses.replace(config, vine_actions=tried)
        plan = dataclasses.replace(plan, config=config)
    _require_one_batch(plan)
    if config.schedule_iterations is None and _has_schedule(config):
        config = dataclasses.replace(config, schedule_iterations=plan.iterations)
    return dataclasses.replace(plan, config=config)


def _has_schedule(config: Config) -> bool:
    values = dataclasses.asdict(config).items()
    return any(v is not None for k, v in values if k.startswith("final_"))


def cores() -> int:
    """Return the number of CPU cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""A trained policy as a file: numbers and names, no code."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trpo_jax import environments
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import (
    Normalizer,
    init_normalizer,
    normalized_leaves,
)
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import NetworkConfig
from trpo_jax.environments.base import Environment, observation_shapes, shapes_in
from trpo_jax.environments.description import (
    EnvironmentDescription,
    as_json,
    describe_environment,
    from_json,
    require_same_spaces,
)
from trpo_jax.environments.host import HostEnvironment, MakeHost
from trpo_jax.environments.spaces import Space
from trpo_jax.runs.saved_policy import SavedPolicy
from trpo_jax.runs.self_check import require_device
from trpo_jax.storage.atomic_files import open_file, write_whole
from trpo_jax.storage.pytree_arrays import named, numbers_of, stored

PyTree = Any
POLICY = "policy.safetensors"  # in the directory of a run
FORMAT = 3  # of policy files; those of trpo_jax 0.1 had no such number


def save_policy(
    path: pathlib.Path,
    state: TrainState,
    environment: Environment | HostEnvironment,
    network: NetworkConfig | None,
    *,
    own_environment: bool = False,
    greedy_return: Sequence[float | None] | None = None,
) -> None:
    """Write the policies of all seeds, with all that acting needs, as one file.

    The file is in the safetensors format and holds no code: the parameters and the
    statistics of the observations, the spaces of the environment, and the shape of the
    network.

    Args:
        path: the file to write.
        state: the last state, whose arrays lead with the seed.
        environment: the environment of training, with its action repeat; one on the
            host may be closed.
        network: the shape of the standard agent, or None if the agent is your own;
            `load_policy` then needs the agent.
        own_environment: whether the environment is your own, so that its name does not
            suffice to make it.
        greedy_return: the mean return of each agent in greedy episodes, by which
            `act(..., agent="best")` chooses; None stands for a number that is not
            finite.

    Example:
        ::

            save_policy(path, result.state, result.environment, result.plan.network)
    """
    tree = {"policy": state.policy_params, "observation": state.normalizer.observation}
    arrays = {name: numbers_of(leaf) for name, leaf in named(tree).items()}
    described = describe_environment(
        environment,
        own=own_environment,
        num_envs=state.episode_return.shape[1],
        observation=state.observation,
    )
    description = {
        "format": FORMAT,
        "environment": as_json(described),
        "network": None if network is None else dataclasses.asdict(network),
        "greedy_return": None if greedy_return is None else list(greedy_return),
    }
    description["sha256"] = _checksum(arrays, description)
    write_whole(path, save(arrays, {"trpo_jax": json.dumps(description)}))


def load_policy(
    run: str | pathlib.Path,
    environment: str | Environment | MakeHost | None = None,
    *,
    agent: Agent | None = None,
) -> SavedPolicy:
    """Read a policy from the directory of a run, or from the policy file itself.

    To act, the policy needs no simulator: the spaces of its environment are in the
    file.

    Args:
        run: the directory that training wrote, or its `policy.safetensors`.
        environment: your own environment, or the function that makes its simulators, if
            the run has one, to evaluate and to record it. Otherwise the name of the
            environment, required if it imports a module that is not an installed
            package.
        agent: your own agent, if the run has one.

    Returns:
        A `SavedPolicy`, which `evaluate_policy` and `record` take.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold a policy for this environment and agent,
            or JAX has no device to run it on.

    Example:
        Drive an environment of Gymnasium::

            policy = load_policy("runs/eight")
            environment = gymnasium.make("CartPole-v1")
            observation, _ = environment.reset()
            environment.step(policy.act(observation))
    """
    require_device()
    path = pathlib.Path(run)
    path = path / POLICY if path.is_dir() else path
    bad_content = ValueError, TypeError, AttributeError, RecursionError, SafetensorError
    try:
        metadata, arrays = _read(path)
    except bad_content as error:
        raise ValueError(f"{path} does not hold a policy: {error}") from error
    try:
        described = from_json(metadata["environment"])
        _check_given(described, environment)
        return _rebuild(metadata, described, arrays, environment, agent)
    except bad_content as error:
        raise ValueError(f"the policy in {path} cannot be used: {error}") from error


def _read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    open_file(path).close()  # refuses pipes and directories
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads((file.metadata() or {}).get("trpo_jax", "{}"))
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not {"environment", "network", "sha256"} <= metadata.keys():
        raise ValueError("it was not written by trpo_jax: it has no description")
    if metadata.pop("sha256") != _checksum(arrays, metadata):
        raise ValueError("its checksum is wrong: the content has changed")
    if "format" not in metadata:
        raise ValueError(
            "it was written by trpo_jax 0.1; install that version to read it"
        )
    if metadata["format"] != FORMAT:
        raise ValueError(f"its format is {metadata['format']}, not {FORMAT}")
    if "greedy_return" not in metadata:
        raise ValueError("'greedy_return' is missing")
    return metadata, arrays


def _check_given(described: EnvironmentDescription, environment: Any) -> None:
    """Refuse an environment that is not the one of training, as far as is known."""
    if isinstance(environment, str):
        if environments.full_name(environment) != described.name:
            raise ValueError(f"its environment is {described.name}, not {environment}")
    elif hasattr(environment, "step"):
        require_same_spaces(described, environment)
    elif environment is not None and not callable(environment):
        raise ValueError(
            "environment must be a name, an Environment, or a function "
            f"make(num_envs, seed); got {environment!r}"
        )


def _rebuild(
    metadata: dict[str, Any],
    described: EnvironmentDescription,
    arrays: dict[str, np.ndarray],
    environment: Any,
    agent: Agent | None,
) -> SavedPolicy:
    space: Any = described.observation_space
    if space is None and not hasattr(environment, "step"):
        raise ValueError(
            f"the observation space of {described.name} is your own: pass the "
            "environment, trpo_jax.load_policy(run, environment=...)"
        )
    traced = space is None
    observation = observation_shapes(environment) if traced else shapes_in(space)
    if agent is None:
        agent = _agent_of(metadata["network"], described)
    elif not isinstance(agent, Agent):
        raise ValueError(f"agent must be a trpo_jax.Agent; got {agent!r}")
    params = jax.eval_shape(agent.policy.init, jax.random.key(0), observation)
    moments = None
    if any(name.startswith("observation/") for name in arrays):
        rows = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape)), observation)
        normalized = normalized_leaves(space) if isinstance(space, Space) else True
        moments = init_normalizer(
            rows, with_observation=normalized, with_reward=False
        ).observation
    tree = _matched({"policy": params, "observation": moments}, arrays)
    agents = len(jax.tree.leaves(tree)[0])
    scores = _scores(metadata["greedy_return"], agents)
    normalizer = Normalizer(tree["observation"], None, None)
    return SavedPolicy(
        described, agent, tree["policy"], normalizer, scores, environment
    )


def _agent_of(network: Any, described: EnvironmentDescription) -> Agent:
    """Return the standard agent that a file describes."""
    if network is None:
        raise ValueError(
            "it was trained with an agent of your own: pass it, "
            "trpo_jax.load_policy(run, agent=...)"
        )
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in network.items()
    }
    return standard_agent(described, NetworkConfig(**values))


def _matched(template: PyTree, arrays: dict[str, np.ndarray]) -> PyTree:
    """Return a tree like the template, of arrays with the seeds as a leading axis.

    It is a `ValueError` if names, shapes or types are not those of the template, or the
    arrays do not have one number of seeds. Floats may have another precision.
    """
    leaves = named(template)
    if missing := leaves.keys() - arrays.keys():
        raise ValueError(f"{min(missing)} is missing; the agent has it")
    if unknown := arrays.keys() - leaves.keys():
        raise ValueError(f"{min(unknown)} is not a part of the agent")
    agents = {array.shape[:1] for array in arrays.values()}
    if len(agents) != 1 or agents <= {(), (0,)}:
        raise ValueError("its arrays must all lead with the agents, one or more")
    found = []
    for name, leaf in leaves.items():
        array, kind = arrays[name], stored(leaf)
        if array.shape[1:] != leaf.shape:
            raise ValueError(
                f"{name} has shape {array.shape[1:]}, the agent needs {leaf.shape}"
            )
        if array.dtype == kind.dtype:
            array = array.view(leaf.dtype)
        elif array.dtype.kind != "f" or np.dtype(leaf.dtype).kind != "f":
            raise ValueError(
                f"{name} has type {array.dtype}, the agent needs {leaf.dtype}"
            )
        found.append(array)
    return jax.tree.unflatten(jax.tree.structure(template), found)


def _scores(scores: Any, agents: int) -> tuple[float | None, ...] | None:
    if scores is None:
        return None
    numbers = all(x is None or isinstance(x, float | int) for x in scores)
    if len(scores) != agents or not numbers:
        raise ValueError(f"greedy_return must have {agents} numbers; got {scores!r}")
    return tuple(scores)


def _checksum(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def standard_agent(environment: Any, network: NetworkConfig) -> Agent:
    """Return the agent that the options of `NetworkConfig` describe."""
    spaces = environment.observation_space, environment.action_space
    return default_agent(*spaces, **dataclasses.asdict(network))

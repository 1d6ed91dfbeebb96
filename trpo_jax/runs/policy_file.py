"""A trained policy as a file: numbers and names, no code."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trpo_jax import environments
from trpo_jax.agent.moments import init_moments
from trpo_jax.agent.networks import Agent, mlp_agent
from trpo_jax.agent.normalization import Normalizer, normalize_observation
from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import NetworkConfig
from trpo_jax.environments.base import Environment, observation_shapes
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.runs.self_check import require_device
from trpo_jax.storage.atomic_files import open_file, write_whole
from trpo_jax.storage.pytree_arrays import name_of, named

PyTree = Any
FORMAT = 2  # of policy files; those of trpo_jax 0.1 had no such number


class SavedPolicy(NamedTuple):
    """The content of a policy file; every array leads with the seed.

    Attributes:
        environment: the environment that the file names, with the action repeat
            of training. If its simulator runs on the host it is closed, and only its
            name and spaces can be used.
        agent: the standard agent that the file describes.
        policy_params: pytree of `[K, ...]`.
        normalizer: pytree of `[K, ...]`.
    """

    environment: Environment | HostEnvironment
    agent: Agent
    policy_params: PyTree
    normalizer: Normalizer

    def act(self, observation: PyTree, *, seed: int = 0) -> jax.Array:
        """Return the greedy action of one of the agents.

        Args:
            observation: an observation of the environment, with any leading axes.
            seed: the index of the agent, counted from 0.

        Returns:
            The action that `environment.step` takes; in a bounded box, ±1 is at the
            bounds.

        Example:
            ::

                action = load_policy("runs/eight").act(observation, seed=3)
        """
        params, normalizer = jax.tree.map(
            lambda leaf: leaf[seed], (self.policy_params, self.normalizer)
        )
        observation = normalize_observation(normalizer, observation)
        return self.agent.policy.apply(params, observation).mode()


def save_policy(
    path: pathlib.Path,
    state: TrainState,
    environment: str,
    network: NetworkConfig | None,
    *,
    action_repeat: int = 1,
) -> None:
    """Write the weights and normalisers of all seeds as a safetensors file.

    Args:
        path: the file to write.
        state: the last state, whose arrays lead with the seed.
        environment: the name of the environment.
        network: the shape of the standard agent; None if the agent or the environment
            is the user's own, which no file can describe and `load_policy` refuses.
        action_repeat: the simulator steps for which each action was held.

    Example:
        ::

            save_policy(path, result.state, "CartPole-v1", result.plan.network)
    """
    tree = {"policy": state.policy_params, "observation": state.normalizer.observation}
    arrays = {name: np.asarray(leaf) for name, leaf in named(tree).items()}
    description = {
        "format": FORMAT,
        "environment": environment,
        "action_repeat": int(action_repeat),
        "network": None if network is None else dataclasses.asdict(network),
    }
    description["sha256"] = _checksum(arrays, description)
    write_whole(path, save(arrays, {"trpo_jax": json.dumps(description)}))


def load_policy(run: str | pathlib.Path, environment: str | None = None) -> SavedPolicy:
    """Read a policy from the directory of a run, or from the policy file itself.

    Args:
        run: the directory that training wrote, or its `policy.safetensors`.
        environment: the name of the environment, required if it imports a module that
            is not an installed package.

    Returns:
        A `SavedPolicy`; `evaluate` takes its parts.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold a policy for its environment, or JAX has
            no device to run it on.

    Example:
        Ask the agent of the first seed for an action, and evaluate it::

            saved = load_policy("runs/eight")
            action = saved.act(observation)
            params, normalizer = jax.tree.map(
                lambda leaf: leaf[0], (saved.policy_params, saved.normalizer)
            )
            evaluate(key, saved.environment, saved.agent, params, normalizer)
    """
    require_device()
    path = pathlib.Path(run)
    path = path / "policy.safetensors" if path.is_dir() else path
    bad_content = ValueError, TypeError, AttributeError, SafetensorError
    try:
        metadata, arrays = _read(path)
    except bad_content as error:
        raise ValueError(f"{path} does not hold a policy: {error}") from error
    try:
        if environment is None:
            environments.require_installed_module(metadata["environment"])
        elif environments.full_name(environment) != metadata["environment"]:
            name = metadata["environment"]
            raise ValueError(f"its environment is {name}, not {environment}")
        return _rebuild(metadata, arrays)
    except bad_content as error:
        raise ValueError(f"the policy in {path} cannot be used: {error}") from error


def _read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    open_file(path).close()  # refuses pipes and directories
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads((file.metadata() or {}).get("trpo_jax", "{}"))
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not {"environment", "action_repeat", "network", "sha256"} <= metadata.keys():
        raise ValueError("it was not written by trpo_jax: it has no description")
    if metadata.pop("sha256") != _checksum(arrays, metadata):
        raise ValueError("its checksum is wrong: the content has changed")
    if "format" not in metadata:
        raise ValueError(
            "it was written by trpo_jax 0.1; install that version to read it"
        )
    if metadata["format"] != FORMAT:
        raise ValueError(f"its format is {metadata['format']}, not {FORMAT}")
    return metadata, arrays


def _rebuild(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> SavedPolicy:
    if metadata["network"] is None:
        raise ValueError(
            "it was trained with an agent or an environment of your own; read the "
            "arrays with safetensors and rebuild the pytree in your code"
        )
    name, repeat = metadata["environment"], metadata["action_repeat"]
    environment: Environment | HostEnvironment
    if environments.runs_on_host(name):
        environment = environments.make_host_environment(name)
        environment.close()  # only its spaces are needed
    else:
        environment = environments.make_environment(name, action_repeat=repeat)
    network: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in metadata["network"].items()
    }
    agent = standard_agent(environment, NetworkConfig(**network))
    observation = observation_shapes(environment)
    params = jax.eval_shape(agent.policy.init, jax.random.key(0), observation)
    moments = None
    if any(name.startswith("observation/") for name in arrays):
        moments = jax.tree.map(lambda leaf: init_moments(leaf.shape), observation)

    def read(key_path: tuple, leaf: Any) -> np.ndarray:
        name = name_of(key_path)
        if name not in arrays:
            raise ValueError(f"{name} is missing")
        if arrays[name].shape[1:] != leaf.shape:
            raise ValueError(
                f"{name} has shape {arrays[name].shape[1:]}, the network of "
                f"{metadata['environment']} needs {leaf.shape}"
            )
        return arrays[name]

    template = {"policy": params, "observation": moments}
    tree = jax.tree_util.tree_map_with_path(read, template)
    normalizer = Normalizer(tree["observation"], None, None)
    return SavedPolicy(environment, agent, tree["policy"], normalizer)


def _checksum(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def standard_agent(
    environment: Environment | HostEnvironment, network: NetworkConfig
) -> Agent:
    """Return the agent that the options of `NetworkConfig` describe."""
    spaces = environment.observation_space, environment.action_space
    return mlp_agent(*spaces, **dataclasses.asdict(network))

"""Environments by name; a simulator is imported only when it is asked for.

`envpool:Hopper-v4` names simulator and environment. A name without a simulator belongs
to the first of these that has it and is installed:

| simulator    | runs                 | comes with                               |
|--------------|----------------------|------------------------------------------|
| `gymnax`     | in compiled programs | trpo-jax                                 |
| `envpool`    | on the host          | `pip install 'trpo-jax[envpool]'`        |
| `gymnasium`  | on the host          | trpo-jax; some tasks need more and say it |
| `brax`       | in compiled programs | `pip install 'trpo-jax[brax]'`           |
| `playground` | in compiled programs | `pip install 'trpo-jax[playground]'`     |

`brax:ant@spring` names one of brax's backends as well. `probe:discount` is one of the
small environments of `trpo_jax.environments.probe`, which are only found by prefix.
"""

import difflib
import fnmatch
import functools
import importlib
import importlib.metadata
import importlib.util
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from trpo_jax.validation import COUNT, check

if TYPE_CHECKING:
    from trpo_jax.environments.base import Environment
    from trpo_jax.environments.host import HostEnvironment


class Simulator(NamedTuple):
    """A source of environments.

    Attributes:
        package: that must be installed, and is imported by the adapter.
        on_host: stepped by the host, a batch at a time.
    """

    package: str
    on_host: bool = False


_DOWNLOADS = "MNISTBandit-bsuite"  # its data, when it is made

SIMULATORS = {  # in the order in which a name without a simulator is looked for
    "gymnax": Simulator("gymnax"),
    "envpool": Simulator("envpool", on_host=True),
    "gymnasium": Simulator("gymnasium", on_host=True),
    "brax": Simulator("brax"),
    "playground": Simulator("mujoco_playground"),
    "probe": Simulator("trpo_jax"),
}


def check_name(name: str) -> tuple[str, str]:
    """Return simulator and environment of a name, both known and installed.

    Raises:
        ValueError: with the nearest name that exists, or with what to install.

    Example:
        >>> check_name("CartPole-v1")
        ('gymnax', 'CartPole-v1')
    """
    simulator, colon, environment = name.partition(":")
    if not (environment if colon else name):
        raise ValueError(
            f"the environment's name is missing in {name!r}; trpo-jax envs lists them"
        )
    if not colon:
        return _find(name)
    if simulator not in SIMULATORS:
        near = difflib.get_close_matches(simulator, SIMULATORS, 1, 0.0)
        raise ValueError(
            f"unknown simulator {simulator!r} in {name!r}; nearest: {near[0]!r}, "
            f"known: {', '.join(SIMULATORS)}"
        )
    _require_installed(simulator, name)
    module, task = "", _without_backend(simulator, environment)
    if simulator == "gymnasium":  # as `module:name`, which registers it
        module, _, task = environment.rpartition(":")
        _import_module(module, name)
    if task not in known_names(simulator):
        if simulator == "probe":
            raise _unknown(name, [f"probe:{other}" for other in known_names("probe")])
        # Its version may know more, or the user has registered it.
        adapter = importlib.import_module(f"trpo_jax.environments.{simulator}")
        if task not in adapter.names():
            prefix = f"{simulator}:{module}:" if module else f"{simulator}:"
            raise _unknown(name, [prefix + other for other in adapter.names()])
    _refuse_downloads(environment)
    return simulator, environment


def module_of(name: str) -> str:
    """Return the module that a name imports, if it is not an installed package; or "".

    Example:
        >>> module_of("gymnasium:mine:Task-v0"), module_of("gymnasium:numpy:Task-v0")
        ('mine', '')
    """
    simulator, _, environment = name.partition(":")
    module = environment.rpartition(":")[0] if simulator == "gymnasium" else ""
    installed = importlib.metadata.packages_distributions() if module else {}
    return "" if module.partition(".")[0] in installed else module


def require_installed_module(name: str) -> None:
    """Refuse a name from a file that would import anything but what is installed.

    Raises:
        ValueError: with what to do: whoever types the name may import what it says.
    """
    if module := module_of(name):
        raise ValueError(
            f"{name!r}, a name in a file, would import the module {module!r}, which is "
            f"no installed package: say that you want this, with --environment {name}, "
            f"or environment={name!r} in Python"
        )


def full_name(name: str) -> str:
    """Return a name together with its simulator; see `check_name`.

    Example:
        >>> full_name("CartPole-v1")
        'gymnax:CartPole-v1'
    """
    return ":".join(check_name(name))


def runs_on_host(name: str) -> bool:
    """Return whether the environment of a name is stepped by the host."""
    return SIMULATORS[check_name(name)[0]].on_host


@functools.cache
def _needs(simulator: str) -> dict[str, str]:
    """Return the environments of a simulator and the package that each needs."""
    path = pathlib.Path(__file__).parent / "names" / f"{simulator}.txt"
    package = SIMULATORS[simulator].package
    lines = path.read_text(encoding="utf-8").splitlines()
    return {
        name: more or package for name, _, more in (x.partition(" ") for x in lines)
    }


def known_names(simulator: str) -> tuple[str, ...]:
    """Return the environments of a simulator, without importing it.

    They are kept as data, so that a misspelt name is refused at once; tests hold the
    lists against the simulators' own.
    """
    return tuple(_needs(simulator))


def list_environments(pattern: str = "") -> list[str]:
    """Return the full names that this installation can run, sorted by simulator.

    Args:
        pattern: a part of the name, or a pattern with `*` and `?` for all of it, in
            upper or lower case.

    Example:
        >>> list_environments("cartpole")[0]
        'gymnax:CartPole-v1'
    """
    wanted = pattern.lower()
    if not set("*?[") & set(wanted):
        wanted = f"*{wanted}*"
    return [
        f"{simulator}:{name}"
        for simulator in SIMULATORS
        for name, package in _needs(simulator).items()
        if _installed(SIMULATORS[simulator].package) and _installed(package)
        if name != _DOWNLOADS
        if fnmatch.fnmatchcase(f"{simulator}:{name}".lower(), wanted)
        or fnmatch.fnmatchcase(name.lower(), wanted)
    ]


def make_environment(name: str, *, action_repeat: int = 1) -> "Environment":
    """Return an environment that runs in compiled programs.

    Args:
        name: as in the table above.
        action_repeat: steps of the simulator that each action is held.

    Returns:
        An `Environment`, single: `collect` makes a batch of it.

    Raises:
        ValueError: for an unknown name, with the nearest that exists, for a simulator
            that is not installed or runs on the host, or for spaces that are not
            supported.

    Example:
        >>> make_environment("CartPole-v1").action_space
        Discrete(n=2)
    """
    check("action_repeat", action_repeat, COUNT)
    simulator, environment = check_name(name)
    if SIMULATORS[simulator].on_host:
        raise ValueError(
            f"{simulator}:{environment} runs on the host; use make_host_environment"
        )
    made = _adapter(simulator)(environment)
    if action_repeat > 1:
        from trpo_jax.environments.action_repeat import ActionRepeat

        return ActionRepeat(made, action_repeat)
    return made


def make_host_environment(
    name: str, num_envs: int = 1, seed: int = 0
) -> "HostEnvironment":
    """Return a batch of environments that the host steps.

    Args:
        name: as in the table above.
        num_envs: B.
        seed: of the simulator's own randomness.

    Returns:
        A `HostEnvironment`.

    Raises:
        ValueError: for an unknown name, a simulator that is not installed or does not
            run on the host, or spaces that are not supported.
    """
    check("num_envs", num_envs, COUNT)
    simulator, environment = check_name(name)
    if not SIMULATORS[simulator].on_host:
        raise ValueError(
            f"{simulator}:{environment} runs in compiled programs; use make_environment"
        )
    return _adapter(simulator)(environment, num_envs, seed)


def _adapter(simulator: str) -> Callable[..., Any]:
    module = importlib.import_module(f"trpo_jax.environments.{simulator}")
    if simulator == "probe":
        return module.make_probe
    return getattr(module, f"{simulator.capitalize()}Environment")


def _find(name: str) -> tuple[str, str]:
    """Look for a name without a simulator."""
    by_prefix = [simulator for simulator in SIMULATORS if simulator != "probe"]
    having = [
        simulator
        for simulator in by_prefix
        if _without_backend(simulator, name) in known_names(simulator)
    ]
    if not having:
        everything = [
            other for simulator in by_prefix for other in known_names(simulator)
        ]
        raise _unknown(name, everything)
    able = [
        simulator
        for simulator in having
        if _installed(SIMULATORS[simulator].package)
        and _installed(_needs(simulator)[_without_backend(simulator, name)])
    ]
    if not able:
        _require_installed(having[0], name)
    _refuse_downloads(name)
    return (able or having)[0], name


@functools.cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _require_installed(simulator: str, name: str) -> None:
    if not _installed(SIMULATORS[simulator].package):
        raise ValueError(
            f"{name!r} needs {simulator}: pip install 'trpo-jax[{simulator}]'"
        )


def _without_backend(simulator: str, environment: str) -> str:
    return environment.partition("@")[0] if simulator == "brax" else environment


def _unknown(name: str, known: list[str]) -> ValueError:
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lower, 1, 0.0)
    return ValueError(f"unknown environment {name!r}; nearest: {lower[near[0]]!r}")


def _import_module(module: str, name: str) -> None:
    try:
        if module:
            importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{name!r} cannot be found: {error}") from error
    except (Exception, SystemExit) as error:  # of the user's own
        kind = type(error).__name__
        raise ValueError(
            f"{name!r} cannot be found: importing {module} raised {kind}: {error}"
        ) from error


def _refuse_downloads(environment: str) -> None:
    if environment == _DOWNLOADS:
        raise ValueError(
            f"{_DOWNLOADS} downloads its data when it is made, and nothing here "
            "uses the network; try SimpleBandit-bsuite"
        )

"""Finding an environment by name, without importing a simulator that is not needed.

To add a simulator, write its adapter `trpo_jax/environments/<simulator>.py` and add a
line to `SIMULATORS`. The adapter has a function `names()`, which lists the simulator's
environments, and a class `<Simulator>Environment`, which makes one of them from its
name, or, on the host, a batch of them from a name, the batch size and a seed.

A file `names/<simulator>.txt` is optional. Each line is an environment, followed by any
other package that it needs. With this file a misspelt name is refused without importing
the simulator; tests compare the file with the simulator itself.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import pathlib
import re
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

from trpo_jax.validation import nearest


class Simulator(NamedTuple):
    """A source of environments, with an adapter of the same name."""

    package: str  # the package that the adapter imports
    on_host: bool = False  # Python steps the environments, outside compiled programs
    extra: bool = False  # `pip install 'trpo-jax[<simulator>]'` installs the package
    maker: str = ""  # what makes an environment; by default `<Simulator>Environment`
    only_by_prefix: bool = False  # a name without a simulator never means this one
    has_backends: bool = False  # a name may end in `@` and a physics backend
    imports_modules: bool = False  # `module:name` imports the module that registers it


SIMULATORS = {  # a name without a simulator is looked up in this order
    "gymnax": Simulator("gymnax"),
    "envpool": Simulator("envpool", on_host=True, extra=True),
    "gymnasium": Simulator("gymnasium", on_host=True, imports_modules=True),
    "brax": Simulator("brax", extra=True, has_backends=True),
    "playground": Simulator("mujoco_playground", extra=True),
    "probe": Simulator("trpo_jax", maker="make_probe", only_by_prefix=True),
}

_SYNONYMS = {  # names and packages that mean a simulator
    "gym": "gymnasium",
    "mujoco": "gymnasium",
    "mujoco_playground": "playground",
    "ale_py": "gymnasium",
}
_DOWNLOADS = "MNISTBandit-bsuite"  # downloads its data when it is made


def check_name(name: str) -> tuple[str, str]:
    """Return the installed simulator and its environment that a name stands for.

    The name may contain its simulator. It is a `ValueError` if it is unknown (the
    message has the nearest known name), if the simulator is not installed, or if the
    environment would download data.

    >>> check_name("CartPole-v1")
    ('gymnax', 'CartPole-v1')
    """
    simulator, colon, environment = name.partition(":")
    if not (environment if colon else name):
        raise ValueError(
            f"the environment's name is missing in {name!r}; see `trpo-jax envs`"
        )
    if not colon:
        return _find(name)
    if simulator not in SIMULATORS:
        near = _SYNONYMS.get(simulator) or nearest(simulator, SIMULATORS)
        hint = f"nearest: {near!r}, known" if near else "known"
        raise ValueError(
            f"unknown simulator {simulator!r} in {name!r}; {hint}: "
            f"{', '.join(SIMULATORS)}"
        )
    require_installed(simulator, name)
    module, task = "", _without_backend(simulator, environment)
    if SIMULATORS[simulator].imports_modules:
        module, _, task = environment.rpartition(":")
        _import_module(module, name)
    having = list(known_names(simulator))
    if task not in having and SIMULATORS[simulator].package != "trpo_jax":
        # The installed version may have more, and users may have registered their own.
        having = adapter_of(simulator).names()
    if task not in having:
        prefix = f"{simulator}:{module}:" if module else f"{simulator}:"
        raise unknown("environment", name, having, prefix)
    _refuse_downloads(environment)
    return simulator, environment


def module_of(name: str) -> str:
    """Return the module of your own that a name with its simulator imports.

    It is empty if the name imports none, or one of an installed package.

    >>> module_of("gymnasium:mine:Task-v0"), module_of("gymnasium:numpy:Task-v0")
    ('mine', '')
    """
    simulator, _, environment = name.partition(":")
    imports = simulator in SIMULATORS and SIMULATORS[simulator].imports_modules
    module = environment.rpartition(":")[0] if imports else ""
    installed = importlib.metadata.packages_distributions() if module else {}
    return "" if module.partition(".")[0] in installed else module


def require_installed_module(name: str) -> None:
    """Refuse a name that was read from a file and imports a module of your own.

    Opening somebody else's file must not run code from the working directory, so a
    module that belongs to no installed package is a `ValueError`.
    """
    if module := module_of(name):
        raise ValueError(
            f"a name in a file must import installed packages only; got {name!r}, and "
            f"{module!r} is not installed; to allow it, pass --environment {name}, or "
            f"environment={name!r} in Python"
        )


def full_name(name: str) -> str:
    """Return a name with its simulator; refuse what `check_name` refuses.

    >>> full_name("CartPole-v1")
    'gymnax:CartPole-v1'
    """
    return ":".join(check_name(name))


def runs_on_host(name: str) -> bool:
    """Return whether Python steps an environment, outside compiled programs.

    If so, `make_host_environment` makes it, else `make_environment`. A name that
    `check_name` refuses is refused.
    """
    return SIMULATORS[check_name(name)[0]].on_host


def known_names(simulator: str) -> tuple[str, ...]:
    """Return the environments of a simulator, a key of `SIMULATORS`.

    They are read from the simulator's file without importing the simulator. If it has
    no such file, they are what the simulator lists, or none if it is not installed.
    """
    return tuple(_packages(simulator))


def runnable_names(simulator: str) -> list[str]:
    """Return those of `known_names` that the installed packages can run."""
    return [
        name
        for name in known_names(simulator)
        if _can_run(simulator, name) and name != _DOWNLOADS
    ]


def adapter_of(simulator: str) -> ModuleType:
    """Import the adapter of a simulator, and with it the simulator."""
    return importlib.import_module(f"trpo_jax.environments.{simulator}")


def unknown(kind: str, name: str, known: Iterable[str], prefix: str = "") -> ValueError:
    """Return the error for an unknown name, with one that was probably meant.

    If no known name is near, the error says how to list them. The known names have no
    prefix; that of the name is left out of the comparison.

    >>> unknown("environment", "cartpool", ["CartPole-v1", "Acrobot-v1"])
    ValueError("unknown environment 'cartpool'; nearest: 'CartPole-v1'")
    >>> unknown("environment", "zzz", ["CartPole-v1", "Acrobot-v1"])
    ValueError("unknown environment 'zzz'; list them with: trpo-jax envs")
    """
    names = sorted(known)
    tasks = {_task_of(other): other for other in names}  # in the newest version
    written = name.removeprefix(prefix)
    near = tasks.get(written) or nearest(written, names)
    near = near or tasks.get(nearest(_task_of(written), tasks) or "")
    if near is not None:
        return ValueError(f"unknown {kind} {name!r}; nearest: {prefix + near!r}")
    pattern = f" '{prefix}*'" if prefix else ""
    return ValueError(
        f"unknown {kind} {name!r}; list them with: trpo-jax envs{pattern}"
    )


def _task_of(name: str) -> str:
    """Return a name without its version, also if it is written as in Atari's."""
    return re.sub(r"^ALE/|(NoFrameskip|Deterministic)?-v\d+$", "", name)


def _find(name: str) -> tuple[str, str]:
    """Look up a name without a simulator; import no adapter before its turn."""
    simulators = [key for key in SIMULATORS if not SIMULATORS[key].only_by_prefix]
    having = []
    for simulator in simulators:
        task = _without_backend(simulator, name)
        if task in known_names(simulator):
            having.append(simulator)
            if _can_run(simulator, task):
                _refuse_downloads(name)
                return simulator, name
    if not having:
        known = [x for key in simulators for x in known_names(key)]
        raise unknown("environment", name, known)
    require_installed(having[0], name)
    return having[0], name


def _packages(simulator: str) -> dict[str, str]:
    """Return the environments of a simulator, each with the package that it needs."""
    listed = _read_names(simulator)
    if listed is not None:
        return listed
    package = SIMULATORS[simulator].package
    names = adapter_of(simulator).names() if _installed(package) else ()
    return dict.fromkeys(names, package)


@functools.cache
def _read_names(simulator: str) -> dict[str, str] | None:
    path = pathlib.Path(__file__).parent / "names" / f"{simulator}.txt"
    if not path.exists():
        return None
    lines = (x.partition(" ") for x in path.read_text(encoding="utf-8").splitlines())
    return {name: more or SIMULATORS[simulator].package for name, _, more in lines}


def _can_run(simulator: str, name: str) -> bool:
    package = _packages(simulator)[name]
    return _installed(SIMULATORS[simulator].package) and _installed(package)


@functools.cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def require_installed(simulator: str, name: str) -> None:
    """Refuse a name of a simulator that is not installed, with a `ValueError`."""
    package, extra = SIMULATORS[simulator].package, SIMULATORS[simulator].extra
    if not _installed(package):
        wheel = f"'trpo-jax[{simulator}]'" if extra else package
        raise ValueError(
            f"{name!r} needs {simulator}, which is not installed: pip install {wheel}"
        )


def _without_backend(simulator: str, name: str) -> str:
    return name.partition("@")[0] if SIMULATORS[simulator].has_backends else name


def _import_module(module: str, name: str) -> None:
    try:
        if module:
            importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module may raise anything
        reason = f"importing {module!r} raised {type(error).__name__}: {error}"
        raise ValueError(f"{name!r} cannot be found: {reason}") from error


def _refuse_downloads(environment: str) -> None:
    if environment == _DOWNLOADS:
        raise ValueError(
            f"{_DOWNLOADS} downloads its data when made; try SimpleBandit-bsuite"
        )

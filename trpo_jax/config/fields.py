"""How the options of a run are declared: a default, a rule, and who uses the value.

Nothing here imports JAX, so that help is printed and bad input refused at once.
"""

import dataclasses
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from trpo_jax.config.groups import Group
from trpo_jax.config.synonyms import unknown_option
from trpo_jax.validation import Rule, check, plain

UsedBy = tuple[str, tuple[str, ...]] | None
"""An option, and those of its choices that use a value; None if all of them do."""


def number(
    default: Any,
    rule: Rule,
    *,
    group: Group | None = None,
    used_by: UsedBy = None,
    end_of: str | None = None,
) -> Any:
    """Declare a number that is a pytree leaf: `jax.vmap` over it is a sweep.

    In the help it stands under the heading `group`, or under that of the option before
    it. With `end_of` it is the end of a schedule that starts at the option of that
    name.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "rule": rule,
            "leaf": True,
            "group": group,
            "used_by": used_by,
            "end_of": end_of,
        },
    )


def structure(
    default: Any, rule: Rule, *, group: Group | None = None, used_by: UsedBy = None
) -> Any:
    """Declare a value that is static: changing it compiles another program.

    In the help it stands under the heading `group`, or under that of the option before
    it.
    """
    metadata = {"rule": rule, "leaf": False, "group": group, "used_by": used_by}
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """A dataclass that checks every field against its rule when it is made.

    Scalars of NumPy are stored as numbers of Python, which JSON can hold. Arrays of JAX
    stay as they are in fields that are pytree leaves.
    """

    if not TYPE_CHECKING:  # for type checkers, the fields are the arguments

        def __new__(cls, *args: Any, **values: Any) -> Any:
            """Refuse an unknown name before Python's TypeError does."""
            own, known = cls.__dataclass_fields__, dict[str, str]()
            for kind in Checked.__subclasses__():
                known |= dict.fromkeys(kind.__dataclass_fields__, kind.__name__)
            for name in values.keys() - own.keys():
                if name in known:
                    raise ValueError(f"{name!r} is an option of {known[name]}")
                raise ValueError(unknown_option(name, known, f"help({cls.__name__})"))
            return super().__new__(cls)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, leaf = getattr(self, field.name), field.metadata["leaf"]
            if isinstance(value, np.ndarray) and value.ndim and not leaf:
                value = tuple(value.tolist())
            check(field.name, value, field.metadata["rule"])
            if not leaf or isinstance(value, np.generic | np.ndarray):
                object.__setattr__(self, field.name, plain(value))
        for field in unused_fields(self):
            value = getattr(self, field.name)
            if not _is_default(field, value):
                option, choices = field.metadata["used_by"]
                raise ValueError(
                    f"{field.name} is used with {option} {' or '.join(choices)} only; "
                    f"got {value!r} with {option} {getattr(self, option)}"
                )


def unused_fields(values: Any) -> list[dataclasses.Field]:
    """Return the fields that the modes chosen by other fields do not use.

    >>> from trpo_jax.config import Config
    >>> "vine_steps" in [field.name for field in unused_fields(Config())]
    True
    """
    return [
        field
        for field in dataclasses.fields(values)
        if (used_by := field.metadata["used_by"])
        and getattr(values, used_by[0]) not in used_by[1]
    ]


def replace_options(values: Any, **changes: Any) -> Any:
    """Return an instance with other values; what a new mode does not use is reset.

    `dataclasses.replace` would keep a value that belonged to the mode before, which the
    constructor then refuses. The end of a schedule keeps its ratio to a new start. A
    change that breaks its rule, or that no chosen mode uses, is a `ValueError`.

    >>> from trpo_jax.config import Config
    >>> config = Config(critic_epochs=20)
    >>> replace_options(config, critic_method="gauss_newton").critic_epochs
    10
    """
    kind = type(values)
    fields = dataclasses.fields(kind)
    kept = {field.name: getattr(values, field.name) for field in fields}
    for field in fields:
        start = field.metadata.get("end_of")
        if start in changes and kept[field.name] is not None:
            rule = field.metadata["rule"]._replace(optional=False)
            check(start, changes[start], rule)
            kept[field.name] *= changes[start] / kept[start]
    draft = object.__new__(kind)
    for name, value in (kept | changes).items():
        object.__setattr__(draft, name, value)
    for field in unused_fields(draft):
        kept.pop(field.name, None)
    return kind(**(kept | changes))


def register_pytree(kind: type) -> None:
    """Make a dataclass whose fields are declared here a pytree, once JAX is imported.

    It is registered at most once. JAX rebuilds instances around tracers, so the checks
    of the constructor are left out then.
    """
    if kind in _REGISTERED or "jax" not in sys.modules:
        return
    import jax

    fields = dataclasses.fields(kind)
    leaves = [field.name for field in fields if field.metadata["leaf"]]
    static = [field.name for field in fields if not field.metadata["leaf"]]

    def flatten(values: Any) -> tuple:
        children = [(jax.tree_util.GetAttrKey(k), getattr(values, k)) for k in leaves]
        return children, tuple(getattr(values, name) for name in static)

    def unflatten(structure: tuple, children: Iterable[Any]) -> Any:
        values: Any = object.__new__(kind)
        for name, value in (*zip(leaves, children), *zip(static, structure)):
            object.__setattr__(values, name, value)
        return values

    _REGISTERED.add(kind)
    jax.tree_util.register_pytree_with_keys(kind, flatten, unflatten)


_REGISTERED: set[type] = set()


def _is_default(field: dataclasses.Field, value: Any) -> bool:
    """Return whether a value may be the default; a traced one may, as it is unknown."""
    if "Tracer" in type(value).__name__:
        return True
    return np.ndim(value) == 0 and bool(value == field.default)

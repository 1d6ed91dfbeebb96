"""What pytest leaves out: adapters of simulators that are not installed here."""

import importlib.util

ADAPTERS = {
    "envpool": "envpool",
    "brax": "brax",
    "mjx_state": "mujoco",
    "playground": "mujoco_playground",
}
collect_ignore = ["tests/typing"]  # read by type checkers, never run
collect_ignore += [
    f"trpo_jax/environments/{adapter}.py"
    for adapter, package in ADAPTERS.items()
    if importlib.util.find_spec(package) is None
]

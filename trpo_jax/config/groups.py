"""The headings under which `trpo-jax train --help` shows the options."""

import enum


class Group(enum.Enum):
    """A heading; they are shown in this order."""

    RUN = "The run:"
    TRUST_REGION = "The trust region:"
    DATA = "The data of an iteration:"
    CRITIC = "The critic:"
    NETWORK = "The networks:"
    SOLVER = "How is the step of the policy computed?"
    SCHEDULE = "What changes during a run?"
    SCALE = "What is brought to a standard scale?"
    EPISODES = "How are episodes played, and how do they end?"
    RESULTS = "What is evaluated, and what is saved?"
    FAILURES = "What if something fails?"
    VINE = "How does a vine branch (with --sampling vine)?"

"""Kill a process again and again while it saves: `python kill_while_saving.py ROUNDS`.

Each round starts a process that saves large states as fast as it can, kills it at a
random moment, and restores. Prints how many rounds there were, how often the kill hit a
half-written checkpoint, and how many checkpoints the survivors were ahead.
"""

import os
import pathlib
import random
import signal
import sys
import tempfile
import time

import numpy as np

from trpo_jax.storage.checkpoint import restore, save, steps_in

SIZE = 500_000  # numbers in an array


def tree(step):
    return {"w": np.full(SIZE, step, np.float32), "v": np.full(SIZE, -step, np.float32)}


def save_for_ever(directory, step):
    while True:
        step += 1
        for _ in range(2):  # the second replaces the first
            save(directory, tree(step), step=step, keep=2)


def main(rounds):
    rng = random.Random(0)
    torn = saved = 0
    with tempfile.TemporaryDirectory() as folder:
        directory = pathlib.Path(folder)
        newest = 0
        for _ in range(rounds):
            child = os.fork()
            if child == 0:
                save_for_ever(directory, newest)
            time.sleep(rng.uniform(0.005, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            torn += any(directory.glob(".unfinished-*"))
            if not steps_in(directory):
                continue  # killed before the very first
            found = restore(directory, tree(0))
            assert not found.skipped, found.skipped
            assert found.step >= newest
            assert found.tree["w"][0] == -found.tree["v"][-1] == found.step
            assert np.ptp(found.tree["w"]) == np.ptp(found.tree["v"]) == 0
            saved += found.step - newest
            newest = found.step
        save(directory, tree(newest + 1), step=newest + 1, keep=2)
        assert len(list(directory.iterdir())) == 2, "litter"
    print(f"{rounds} rounds, {torn} torn, {saved} checkpoints")
    assert saved > 0


if __name__ == "__main__":
    main(int(sys.argv[1]))

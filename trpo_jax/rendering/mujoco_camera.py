"""Rendering with MuJoCo, with or without a screen."""

import importlib
import os
import sys
from typing import Any

import numpy as np

PyTree = Any

RENDER_SIZE = (360, 480)  # height and width


def cannot_draw(name: str, error: Exception) -> ValueError:
    """Return the `ValueError` for an error of a renderer: one line, with advice."""
    reason = " ".join(str(error).split()) or type(error).__name__
    advice, opengl = "", ("EGL", "OpenGL platform", "gladLoadGL", "glGetError")
    if any(word in reason for word in opengl):
        advice = (
            "; without a screen MuJoCo renders with EGL: on Debian, `apt install "
            "libegl1 libgl1-mesa-dri`"
        )
    return ValueError(f"{name} cannot be rendered here: {reason}{advice}")


def choose_opengl() -> None:
    """Let MuJoCo render without a screen if there is none."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform == "linux" and not any(map(os.environ.get, screens)):
        os.environ.setdefault("MUJOCO_GL", "egl")


class Camera:
    """Renders the states of brax and MuJoCo Playground, if MuJoCo can render here."""

    def __init__(self, name: str, simulator: Any) -> None:
        import mujoco

        choose_opengl()
        system = getattr(simulator, "sys", simulator)  # brax keeps the model there
        self._model: Any = getattr(system, "mj_model", None)
        try:
            # MuJoCo chose OpenGL at its import, perhaps before `choose_opengl`.
            module = importlib.import_module(mujoco.Renderer.__module__)
            importlib.reload(module.gl_context)
            self._renderer = mujoco.Renderer(self._model, *RENDER_SIZE)
        except Exception as error:
            raise cannot_draw(name, error) from error
        assert self._model is not None  # or the renderer would have refused it
        self._data = mujoco.MjData(self._model)
        self._forward = mujoco.mj_forward
        kinds = mujoco.mjtCamLight
        modes = (kinds.mjCAMLIGHT_TRACK, kinds.mjCAMLIGHT_TRACKCOM)
        following = np.flatnonzero(np.isin(self._model.cam_mode, modes))
        self._camera = int(following[0]) if len(following) else -1

    def __call__(self, env_state: PyTree, _: np.ndarray) -> np.ndarray:
        """Return a frame of a state, uint8 `[H, W, 3]`; the observation is not used."""
        state = env_state.simulator
        physics = getattr(state, "pipeline_state", None) or state.data
        brax = hasattr(physics, "q")
        self._data.qpos = physics.q if brax else physics.qpos
        self._data.qvel = physics.qd if brax else physics.qvel
        for name in ("mocap_pos", "mocap_quat"):
            if hasattr(physics, name):
                setattr(self._data, name, getattr(physics, name))
        self._forward(self._model, self._data)
        self._renderer.update_scene(self._data, camera=self._camera)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Release the renderer."""
        self._renderer.close()

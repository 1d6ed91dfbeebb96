"""Recordings of episodes, and the video files they are written to."""

import contextlib
import io
import math
import os
import pathlib
import subprocess
from typing import NamedTuple

import numpy as np

from trpo_jax.runs.output_paths import check_suffix

GIF_BYTES = 3_000_000  # the first of the following sizes below it is chosen
GIF_SIZES = ((320, 25), (240, 25), (240, 12.5), (160, 12.5))  # width and frame rate
GIF_COLORS = 64  # a GIF may have up to 256


class Recording(NamedTuple):
    """One episode.

    Attributes:
        frames: uint8 `[H, W, 3]`, the first state and the state after every action.
        frames_per_second: the frame rate: real time in MuJoCo, otherwise the rate of
            Gymnasium, otherwise 10 for grid worlds and 30 for others.
        episode_return: the undiscounted sum of all rewards.
        episode_length: the number of actions.
        finished: False if the recording was stopped before the episode ended.
    """

    frames: list[np.ndarray]
    frames_per_second: float
    episode_return: float
    episode_length: int
    finished: bool


def write_video(path: str | os.PathLike[str], recording: Recording) -> None:
    """Write a recording as a GIF or an MP4 file, at its own speed.

    A GIF is kept small: it has at most 25 frames in a second, a width of at most 320
    pixels, and 64 colours. If more than 3 MB are expected, as for 1000 steps of MuJoCo,
    these are reduced down to 12.5 frames in a second and 160 pixels. An MP4 has every
    frame unchanged.

    Args:
        path: the file to write, which ends in `.gif` or `.mp4`; it appears once it is
            complete.
        recording: the recording, from `record`.

    Raises:
        ValueError: for another ending, or if MP4 needs a package that is not installed.
        OSError: if the file cannot be written.

    Example:
        ::

            write_video("agent.gif", record(load_policy("runs/eight")))
    """
    check_suffix(path)
    path = pathlib.Path(path)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    unfinished = path.with_suffix(f".unfinished{path.suffix}")
    try:
        write(unfinished, recording)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def stride(rate: float, limit: float | None) -> int:
    """Return n ≥ 1 such that every n-th frame gives at most `limit` in a second."""
    return 1 if limit is None else max(1, math.ceil(rate / limit - 1e-6))


def _write_gif(path: pathlib.Path, recording: Recording) -> None:
    path.write_bytes(_encode_gif(*_fit_gif(recording)))


def _fit_gif(recording: Recording) -> tuple[list[np.ndarray], int, float]:
    """Return frames, width and rate of a small GIF; its size is estimated by a part."""
    for width, limit in GIF_SIZES:
        every = stride(recording.frames_per_second, limit)
        frames = recording.frames[::-1][::every][::-1]  # the last one is always kept
        rate = recording.frames_per_second / every
        middle = len(frames) // 2
        some = frames[max(0, middle - 10) : middle + 10]
        if len(_encode_gif(some, width, rate)) * len(frames) <= GIF_BYTES * len(some):
            break
    return frames, width, rate


def _encode_gif(frames: list[np.ndarray], width: int, rate: float) -> bytes:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    if images[0].width > width:
        size = (width, round(images[0].height * width / images[0].width))
        images = [image.resize(size, Image.Resampling.BOX) for image in images]
    # One palette for all frames: it prevents flicker, and it is stored once.
    step = 1 + len(images) * images[0].width * images[0].height // 2**17
    pixels = [np.asarray(image).reshape(-1, 3)[::step] for image in images]
    sample = Image.fromarray(np.concatenate(pixels)[None])
    # k-means, until all but a hundredth of the pixels keep their colour.
    sample = sample.quantize(GIF_COLORS, kmeans=sample.width // 100)
    palette = np.array(sample.getpalette(), np.uint8).reshape(-1, 3)
    nearest = _Nearest(palette)
    first, *others = (Image.fromarray(nearest(np.asarray(i))) for i in images)
    for image in (first, *others):
        image.putpalette(palette.tobytes())
    # A GIF counts time in hundredths of a second; rounded ends keep the sum right.
    ends = np.rint(np.arange(len(images) + 1) * 100 / rate).astype(int)
    buffer = io.BytesIO()
    durations = (10 * np.diff(ends)).tolist()
    moving = {
        "save_all": True,
        "append_images": others,
        "duration": durations,
        "loop": 0,
    }
    # If it were optimised, every frame would have its own palette.
    first.save(buffer, "GIF", optimize=False, **moving)
    return buffer.getvalue()


class _Nearest:
    """Finds the nearest colour of a palette; that of Pillow differs by up to 4."""

    def __init__(self, palette: np.ndarray) -> None:
        self._palette = palette.astype(np.float32)
        self._known = np.full(2**24, -1, np.int16)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        packed = pixels.astype(np.int32) @ np.array([2**16, 2**8, 1], np.int32)
        new = np.unique(packed[self._known[packed] < 0])
        colors = np.stack([new >> 16, new >> 8 & 255, new & 255], -1)
        # |c − p|² = |c|² − 2 cᵀp + |p|², of which |c|² does not matter.
        distance = (self._palette**2).sum(-1) - 2 * (colors @ self._palette.T)
        self._known[new] = distance.argmin(-1)
        return self._known[packed].astype(np.uint8)


def _write_mp4(path: pathlib.Path, recording: Recording) -> None:
    import imageio_ffmpeg

    height, width, _ = recording.frames[0].shape
    rate = f"{recording.frames_per_second:.6f}"
    given = f"-v error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate} -i -"
    even = "-vf pad=ceil(iw/2)*2:ceil(ih/2)*2"  # the codec requires even sizes
    output = f"{even} -c:v libx264 -pix_fmt yuv420p -crf 20"
    # imageio_ffmpeg.write_frames forks in a way that can hang together with JAX.
    options = f"{given} {output}".split()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe) as process:
        assert process.stdin is not None  # it is a pipe
        with contextlib.suppress(BrokenPipeError):  # ffmpeg reports the reason
            for frame in recording.frames:
                process.stdin.write(np.ascontiguousarray(frame).data)
        _, errors = process.communicate()
    if process.returncode:
        raise OSError(" ".join(["ffmpeg:", *errors.decode(errors="replace").split()]))

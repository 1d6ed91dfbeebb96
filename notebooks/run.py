"""Execute the notebooks of this folder; with --save, write the outputs into them.

The exit code is 1 if a cell fails; the message names the notebook and the cell.
"""

import pathlib
import sys

import nbformat
from nbclient import NotebookClient


def run(path: pathlib.Path, save: bool) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = ["(none was started)"]
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        on_cell_execute=lambda cell, cell_index: cells.append(cell.id),
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except Exception as error:  # a failed cell, a timeout, or a dead kernel
        sys.exit(f"{path.name}, cell {cells[-1]}: {error}")
    if save:
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)
    print(f"{path.name}: passed")


if __name__ == "__main__":
    for path in sorted(pathlib.Path(__file__).resolve().parent.glob("*.ipynb")):
        run(path, save="--save" in sys.argv[1:])

"""Execute every notebook of this folder; with --save, write the outputs into them.

Exits 1 when a cell fails, naming the notebook and the cell.
"""

import pathlib
import sys

import nbformat
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).resolve().parent


def main(save: bool) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        running = []
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--log-level=ERROR"],
            on_cell_execute=lambda cell, cell_index, log=running: log.append(cell.id),
            resources={"metadata": {"path": str(FOLDER)}},
        )
        try:
            client.execute()
        except Exception as error:  # a failed cell, a timeout, a dead kernel
            sys.exit(f"{path.name}, cell {running[-1:]}: {error}")
        if save:
            notebook.metadata.language_info = {"name": "python"}
            nbformat.write(notebook, path)
        print(f"{path.name}: passed")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--save"]):
        sys.exit("usage: python notebooks/run.py [--save]")
    main(save=bool(sys.argv[1:]))

"""Execute every notebook of this folder; with --save, write the outputs into them.

Exits 1 when a cell fails, naming the notebook and the cell.
"""

import argparse
import pathlib
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

FOLDER = pathlib.Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true", help="keep the outputs")
    save = parser.parse_args().save
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(FOLDER)}},
        )
        running = []
        client.on_cell_execute = lambda cell, cell_index, r=running: r.append(cell.id)
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            sys.exit(f"{path.name}, cell {running[-1]!r}: {error}")
        if save:
            notebook.metadata.language_info = {"name": "python"}
            nbformat.write(notebook, path)
        print(f"{path.name}: passed")


if __name__ == "__main__":
    main()

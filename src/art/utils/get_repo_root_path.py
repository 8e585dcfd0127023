"""The folder of the repository that a script lies in."""

from __future__ import annotations

from pathlib import Path


def get_repo_root_path() -> str:
    """Give the nearest folder with a `.git`, from the working directory upwards; `.` where there is none."""
    here = Path.cwd()
    return next((str(folder) for folder in (here, *here.parents) if (folder / ".git").exists()), ".")

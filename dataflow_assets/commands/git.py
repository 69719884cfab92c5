"""Declarations as they stood at a commit."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow_assets.errors import GitError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def folder_at(folder: Path, reference: str) -> Iterator[Path]:
    """Give a folder's content as it was at a commit, in a folder that is removed in the end.

    Args:
        folder: A folder in a git repository.
        reference: A commit, branch or tag.

    Raises:
        GitError: There is no git, no repository, no such commit, or no such folder in it.
    """
    folder = folder.resolve()
    top = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())
    inside = folder.relative_to(top).as_posix()
    # What begins with a dash would be an option; a commit's hash cannot.
    commit = _git(top, "rev-parse", "--verify", "--end-of-options", f"{reference}^{{commit}}")
    content = _git(top, "archive", "--format=tar", commit.decode().strip(), "--", inside)
    with tempfile.TemporaryDirectory(prefix="dataflow-git-") as made:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(made, filter="data")
        yield Path(made) / inside


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise GitError(
            f"git {arguments[0]} failed: {said.decode(errors='replace').strip()}.",
            mend="Run it in a clone of the repository that has the commit: in GitHub Actions, "
            "actions/checkout with fetch-depth: 0.",
            culprit=arguments[-1],
        ) from error

"""Installed packages with plug-ins, as far as Python can tell.

What belongs here: folders on the path that look like installed packages. What does not: what any
one plug-in does.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from dataflow_assets import plugins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXAMPLE = Path(__file__).parent.parent / "examples" / "plugin"


def install_example(folder: Path) -> Path:
    """Build the example package as its users do, and install it into a folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheels")],
        cwd=EXAMPLE,
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def write_package(
    folder: Path, name: str, points: Mapping[str, str], code: str = "", version: str = "1.0"
) -> Path:
    """Write a package with one module, and entry points by ``group/name``.

    Args:
        folder: Where packages are installed.
        name: The package's name, and its module's.
        points: The object in the module, by group and name.
        code: The module.
        version: The package's version.
    """
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(dedent(code), encoding="utf-8")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for point, target in points.items():
        group, _, word = point.partition("/")
        lines.append(f"[dataflow_assets.{group}]\n{word} = {name}:{target}\n")
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@contextmanager
def installed(*folders: Path) -> Iterator[None]:
    """Let Python find packages; they are forgotten in the end."""
    before, modules = list(sys.path), set(sys.modules)
    sys.path[:0] = map(str, folders)
    _forget()
    try:
        yield
    finally:
        sys.path[:] = before
        for name in set(sys.modules) - modules:
            path = getattr(sys.modules[name], "__file__", None) or ""
            if any(path.startswith(str(folder)) for folder in folders):
                del sys.modules[name]
        _forget()


def _forget() -> None:
    importlib.invalidate_caches()
    plugins._found.cache_clear()  # noqa: SLF001 - packages do not come and go elsewhere

"""What of the image can be tried without an engine: the wheel that it is made of."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COMMAND = re.compile(r"/tools/bin/python (-m hatchling build .*?) \\$", re.MULTILINE)


def test_the_wheel_is_built_as_the_image_builds_it(tmp_path: Path) -> None:
    steps = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, tmp_path)
    shutil.copytree(
        ROOT / "dataflow_assets",
        tmp_path / "dataflow_assets",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    command = COMMAND.search(steps)
    assert command is not None
    subprocess.run([sys.executable, *shlex.split(command[1])], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = (ROOT / "dataflow_assets").rglob("*")
    wanted = {
        str(path.relative_to(ROOT)) for path in sources if path.suffix in (".py", ".yaml", ".sql")
    }
    assert wanted <= held

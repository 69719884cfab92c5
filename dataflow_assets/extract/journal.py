"""Pages on their way: what a killed run received, kept for the next one.

What belongs here: pages in files of this machine, and a journal of them that is never half written.
What does not: asking for pages (`rest`), and the archive, where they go when all are there.

A page is written first and then noted, by one line. So what is noted is there; what is not noted is
received again. Pages are good for the same request only, and for a while.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from dataflow_assets.extract.pages import Position
from dataflow_assets.extract.storing import storing

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.extract.credentials import Credentials

NOTES = "pages.jsonl"


class KeptPage(BaseModel):
    """A page that was received.

    Attributes:
        position: Which page it is.
        following: Which page comes next; none after the last.
        name: The page as people may see it.
        size: Bytes of its body.
        sha256: Hash of its body.
    """

    model_config = ConfigDict(frozen=True)

    position: Position
    following: Position | None
    name: str
    size: int
    sha256: str


class _Head(BaseModel):
    """Of what pages are noted.

    Attributes:
        request: Digest of what is asked for.
        began: When the first was asked for, in seconds since 1970.
    """

    request: str
    began: float


class Journal:
    """The pages of one partition that were received so far.

    Args:
        folder: Where they are kept; nobody else uses it at the same time.
        request: Digest of what is asked for.
        good_for_s: Seconds for which the pages of a killed run may be used.
        credentials: Know what may not be written.

    Attributes:
        pages: The pages, in order.
    """

    def __init__(
        self, folder: Path, request: str, good_for_s: float, credentials: Credentials
    ) -> None:
        self._folder = folder
        self._notes = folder / NOTES
        self._request = request
        self._credentials = credentials
        self.pages: list[KeptPage] = []
        oldest = time.time() - good_for_s
        with storing("received pages", self._folder):
            lines = (
                self._notes.read_bytes().splitlines(keepends=True) if self._notes.exists() else []
            )
            if not lines or not self._fits(lines[0], oldest):
                self.clear()
                return
            length = len(lines[0])
            for line in lines[1:]:
                page = self._whole(line)
                if page is None:  # the run was killed while it wrote this
                    break
                self.pages.append(page)
                length += len(line)
            os.truncate(self._notes, length)

    def path(self, number: int) -> Path:
        """Return where the body of a page is, or is to be written."""
        return self._folder / f"{number:06}.page"

    def note(self, page: KeptPage) -> None:
        """Take note of a page whose body is written."""
        self.pages.append(page)
        line = page.model_dump_json()
        if self._credentials.redact(line) != line:
            return  # no secret is written; a later run begins anew from this page
        where = self._folder
        with storing("received pages", where), self._notes.open("a", encoding="utf-8") as notes:
            notes.write(f"{line}\n")

    def clear(self) -> None:
        """Forget all pages, and begin now."""
        self.pages = []
        head = _Head(request=self._request, began=time.time())
        with storing("received pages", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._notes.write_text(f"{head.model_dump_json()}\n", encoding="utf-8")

    def remove(self) -> None:
        """Remove the pages from this place."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _fits(self, line: bytes, oldest: float) -> bool:
        try:
            head = _Head.model_validate_json(line)
        except ValidationError:
            return False
        return head.request == self._request and oldest <= head.began <= time.time()

    def _whole(self, line: bytes) -> KeptPage | None:
        """Return the next page that a line notes, if it is there as it was received."""
        try:
            page = KeptPage.model_validate_json(line)
            with self.path(page.position.number).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except (ValidationError, FileNotFoundError):
            return None
        next_one = page.position.number == len(self.pages) + 1
        return page if next_one and sha256 == page.sha256 and line.endswith(b"\n") else None


def remove_old(folder: Path, good_for_s: float) -> None:
    """Remove the pages of partitions that nobody has asked for again in time."""
    for notes in folder.glob(f"*/{NOTES}"):
        try:
            old = time.time() - notes.stat().st_mtime > good_for_s
        except FileNotFoundError:  # its run has come to an end
            continue
        if old:
            shutil.rmtree(notes.parent, ignore_errors=True)


def folder_name(partition: str) -> str:
    """Return a partition's key as the name of a folder."""
    return quote(partition, safe="-_. ")

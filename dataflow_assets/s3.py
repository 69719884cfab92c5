"""S3: buckets, the requests to them, and what it means when one fails.

What belongs here: listing, reading and writing objects of any S3 server, retried where that helps
and explained where it does not. What does not: what the objects are; that is for ``io.places`` and
``extract.bucket``.

Requests go through obstore, which is the object store of Polars with Python's hands; boto3 is asked
for credentials where the environment holds no key, and to abort what killed uploads left behind.
Neither is imported before a bucket is opened.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import re
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial
from http import HTTPStatus
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import override

from dataflow_assets.errors import S3RefusedError, S3UnavailableError, SettingsError
from dataflow_assets.settings import SCHEME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from _typeshed import WriteableBuffer
    from obstore.store import S3Store

    from dataflow_assets.errors import DataflowError

T = TypeVar("T")
R = TypeVar("R")
LOG = logging.getLogger(__name__)
ADDRESS = re.compile(r"s3://([^/]+)/*(.*)", re.DOTALL)
PART_BYTES = 8 << 20
"""Objects up to this size are read, and written, by one request."""
PARTS_AT_ONCE = 6
MOST_PARTS = 9_000
"""Of one upload; S3 allows 10,000."""
READ_AHEAD = 256 << 10
"""Bytes that are asked for at least where an object is read here and there."""
REQUESTS_AT_ONCE = 32
PAGE = 1000
"""Objects that S3 lists in one answer."""
TRIES = 8
LIST_TRIES = 3
LEFTOVER_AGE = timedelta(days=1)
RETRY_FOR = timedelta(seconds=90)
FIRST_WAIT = timedelta(milliseconds=100)
LONGEST_WAIT = timedelta(seconds=10)
REQUEST_TIMEOUT = timedelta(seconds=60)
CONNECT_TIMEOUT = timedelta(seconds=5)
NO_CONSTRAINT = (None, "us-east-1", "aws-global")
"""Regions that S3 does not want to hear of when it makes a bucket."""
STATUS = re.compile(r"status code: (\d{3})")
NO_RANGE = ("status code: 416", "non-partial response")
"""What servers answer who are asked for a part of nothing."""
CODE = re.compile(r"<Code>(\w+)</Code>")
REFUSALS = set(range(400, 500)) - {408, 425, 429}
"""Answers that stay the same however often one asks."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as its bucket lists it.

    Attributes:
        key: Its name in the bucket.
        size: Bytes.
        etag: Changes when its content does.
        modified: When it was last written, by the server's clock.
        attributes: What was written beside its content; none where it was only listed.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    attributes: Mapping[str, str] | None = None

    @property
    def mtime_ns(self) -> int:
        """When it was last written, in nanoseconds since 1970."""
        return int(self.modified.timestamp() * 1_000_000) * 1000


@dataclass(frozen=True)
class Writing:
    """How objects are written.

    Attributes:
        sse: Server-side encryption, ``AES256`` or ``aws:kms``; none: as the bucket says.
        kms_key_id: The KMS key for ``aws:kms``; none: the account's own.
        tags: Tags of every object.
    """

    sse: str | None = None
    kms_key_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Address:
    """Where something is: a bucket, and a key or the beginning of keys.

    Attributes:
        bucket: The bucket's name.
        key: What follows it, without slashes at either end.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``s3://bucket/key``.

        Raises:
            SettingsError: It is no such address.
        """
        match = ADDRESS.fullmatch(url)
        if match is None:
            raise SettingsError(
                f"{url!r} is no address on S3.", mend="Write s3://bucket/prefix.", culprit=url
            )
        return cls(match[1], match[2].strip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}".rstrip("/")


class Bucket:
    """A bucket on S3, found and entered as the usual ``AWS_*`` variables say.

    Every method raises S3RefusedError where trying again cannot help (wrong key, no right, no such
    bucket) and S3UnavailableError where it may; by then it has been tried for a while.

    Args:
        name: The bucket's name.
        writing: How its objects are written.
    """

    def __init__(self, name: str, writing: Writing | None = None) -> None:
        self.name = name
        self._writing = writing or Writing()

    def url(self, key: str) -> str:
        """Return an object's address."""
        return str(Address(self.name, key))

    def make(self) -> bool:
        """Make the bucket unless it is there; return whether it was made.

        Raises:
            S3RefusedError: There is no right to it, or it is another account's.
            S3UnavailableError: The server does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        region = self._boto3.meta.region_name
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            try:
                self._boto3.head_bucket(Bucket=self.name)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
                    raise
                self._boto3.create_bucket(
                    Bucket=self.name, **({} if region in NO_CONSTRAINT else where)
                )
                return True
        except (BotoCoreError, ClientError) as error:
            raise self._refused(error, "") from None
        return False

    def find(self, key: str) -> Listed | None:
        """Return what an object is, or none if there is none."""
        with self._asking(key):
            try:
                found = self._store.get(key, options={"head": True})
            except FileNotFoundError as error:
                self._refuse_bucket(key, error)
                return None
        attributes = {str(name): str(value) for name, value in found.attributes.items()}
        return replace(_listed(found.meta), attributes=attributes)

    def read(self, key: str, *, etag: str | None = None) -> bytes | None:
        """Return a small object's content, or none if there is no such object.

        Args:
            key: The object.
            etag: The content that is expected; another counts as none.
        """
        from obstore.exceptions import PreconditionError

        with self._asking(key):
            try:
                options: Any = {"if_match": etag} if etag else None
                return bytes(self._store.get(key, options=options).bytes())
            except FileNotFoundError as error:
                self._refuse_bucket(key, error)
                return None
            except PreconditionError:
                return None

    def tail(self, key: str, length: int) -> bytes | None:
        """Return the last bytes of an object, or none if there is no such object."""
        from obstore.exceptions import GenericError

        with self._asking(key):
            try:
                options: Any = {"range": {"suffix": length}}
                return bytes(self._store.get(key, options=options).bytes())
            except FileNotFoundError as error:
                self._refuse_bucket(key, error)
                return None
            except GenericError as error:
                if any(sign in str(error) for sign in NO_RANGE) and self._is_empty(key):
                    return b""
                raise

    def _is_empty(self, key: str) -> bool:
        found = self.find(key)
        return found is not None and not found.size

    def open(self, key: str) -> IO[bytes]:
        """Open an object for reading here and there."""
        found = self.find(key)
        if found is None:
            raise S3RefusedError(
                "there is no such object.",
                mend="See what has removed it; the run that writes it may be repeated.",
                culprit=self.url(key),
            )
        return cast("IO[bytes]", io.BufferedReader(_Reader(self.range, found), READ_AHEAD))

    def download(self, found: Listed, to: Path) -> str | None:
        """Copy an object to a local file, by several requests at once.

        Returns:
            The SHA-256 of its content, in hex digits; none if it is not what was found any more.
        """
        digest = hashlib.sha256()
        one = found.size <= PART_BYTES  # no threads for what is one request
        with to.open("wb", buffering=0) as file:
            for part in (self.range(found, 0, PART_BYTES),) if one else self._parts(found):
                if part is None:
                    return None
                file.write(part)
                digest.update(part)
        return digest.hexdigest()

    def range(self, found: Listed, start: int, length: int) -> Any:  # noqa: ANN401 - of obstore
        """Return some bytes of an object as a buffer, or none if it is not what was found."""
        from obstore.exceptions import PreconditionError

        end = min(start + length, found.size)
        options: Any = {"range": (start, end)} if end > start else {}  # nothing has no range
        if found.etag:
            options["if_match"] = found.etag
        with self._asking(found.key):
            try:
                return self._store.get(found.key, options=options).bytes()
            except FileNotFoundError as error:
                self._refuse_bucket(found.key, error)
                return None
            except PreconditionError:
                return None

    def upload(self, path: Path, key: str, attributes: Mapping[str, str] | None = None) -> None:
        """Copy a local file to an object, which readers see as it was until all of it is there.

        Args:
            path: The file.
            key: The object.
            attributes: What is written beside its content.
        """
        size = path.stat().st_size
        in_parts = size > PART_BYTES
        if in_parts:
            self._abort_leftovers(key)
        with self._asking(key):
            self._store.put(
                key,
                path,
                attributes=dict(attributes or {}),
                tags=self._tags,
                chunk_size=max(PART_BYTES, -(-size // MOST_PARTS)),
                max_concurrency=PARTS_AT_ONCE,
            )
        if in_parts:
            self._check_size(key, size)
            self._tag(key)

    def write(self, key: str, content: bytes) -> None:
        """Put a small content in the place of an object's, at once."""
        with self._asking(key):
            self._store.put(key, content, tags=self._tags, use_multipart=False)

    def create(self, key: str, content: bytes) -> bool:
        """Write an object if there is none; return whether there was none."""
        from obstore.exceptions import AlreadyExistsError

        with self._asking(key):
            try:
                self._store.put(key, content, mode="create", tags=self._tags)
            except AlreadyExistsError:
                return False
        return True

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        with self._asking(key):
            self._store.delete(key)

    def below(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """Yield all objects below a folder, in the order of their keys, page by page.

        Args:
            prefix: The folder: whole parts of keys, without a slash at the end.
            after: Begin behind this key.
        """
        tries = 0
        while True:
            try:
                for page in self._pages(prefix, after):
                    yield from page
                    after, tries = page[-1].key, 0
            except _CutError as cut:
                tries += 1
                if tries > LIST_TRIES:
                    raise _explained(cut.text, self.name, prefix) from None
                time.sleep(FIRST_WAIT.total_seconds() * 2**tries * random.uniform(0.5, 1))  # noqa: S311
            else:
                return

    def _pages(self, prefix: str, after: str) -> Iterator[list[Listed]]:
        """Yield the pages of a list; obstore does not ask anew for one that was cut."""
        from obstore.exceptions import GenericError

        pages = self._store.list(prefix or None, offset=after or None, chunk_size=PAGE)
        while True:
            with self._asking(prefix):
                try:
                    page = next(pages, None)
                except GenericError as error:
                    if "response body" in str(error):
                        raise _CutError(str(error)) from None
                    raise
            if page is None:
                return
            yield [_listed(found) for found in page]

    def _parts(self, found: Listed) -> Iterator[Any]:
        """Yield an object's content in order, the next parts being on their way already."""
        starts = iter(range(0, found.size, PART_BYTES))
        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="s3") as pool:
            ask = partial(self._ask_part, pool, found)
            waiting = deque(map(ask, islice(starts, PARTS_AT_ONCE)))
            try:
                while waiting:
                    yield waiting.popleft().result()
                    waiting.extend(map(ask, islice(starts, 1)))
            finally:
                for late in waiting:
                    late.cancel()

    def _ask_part(self, pool: ThreadPoolExecutor, found: Listed, start: int) -> Future[Any]:
        return pool.submit(self.range, found, start, PART_BYTES)

    def _check_size(self, key: str, size: int) -> None:
        found = self.find(key)
        if found is None or found.size != size:
            raise S3UnavailableError(
                f"{size:,} bytes were written and {found.size if found else 0:,} are there.",
                mend="Run again; if it goes on, look at the server's logs.",
                culprit=self.url(key),
            )

    def _abort_leftovers(self, key: str) -> None:
        """Free what killed uploads of an object have left; nobody else sees it, all pay for it.

        An upload is never a day old: what is, nobody works at any more.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._boto3.list_multipart_uploads(Bucket=self.name, Prefix=key)
            for upload in found.get("Uploads", ()):
                if upload["Initiated"] < datetime.now(UTC) - LEFTOVER_AGE:
                    self._boto3.abort_multipart_upload(
                        Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
        except (BotoCoreError, ClientError) as error:
            LOG.warning(
                "unfinished uploads of %s were left: %s", self.url(key), type(error).__name__
            )

    def _tag(self, key: str) -> None:
        """Tag an object that was written in parts: not every server takes tags with the parts."""
        from botocore.exceptions import BotoCoreError, ClientError

        if not self._writing.tags:
            return
        tags = [{"Key": name, "Value": value} for name, value in self._writing.tags.items()]
        try:
            self._boto3.put_object_tagging(Bucket=self.name, Key=key, Tagging={"TagSet": tags})
        except (BotoCoreError, ClientError) as error:
            raise self._refused(error, key) from None

    def _refused(self, error: Exception, key: str) -> DataflowError:
        """Return what boto3 says as an error of ours."""
        answer = getattr(error, "response", {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        code = answer.get("Error", {}).get("Code", "")
        text = f"{type(error).__name__} status code: {status} <Code>{code}</Code>"
        return _explained(text, self.name, key)

    @cached_property
    def _boto3(self) -> Any:  # noqa: ANN401 - boto3 has no types
        """A client for what obstore cannot do."""
        import boto3
        from botocore.config import Config

        retries = Config(retries={"mode": "standard", "total_max_attempts": TRIES})
        return boto3.Session().client("s3", endpoint_url=_endpoint(), config=retries)

    @cached_property
    def _store(self) -> S3Store:
        from obstore.store import S3Store

        config: dict[str, Any] = {}
        if self._writing.sse:
            config["server_side_encryption"] = self._writing.sse
        if self._writing.kms_key_id:
            config["sse_kms_key_id"] = self._writing.kms_key_id
        endpoint = _endpoint()
        return S3Store(
            self.name,
            **config,
            client_options={
                "allow_http": bool(endpoint and endpoint.startswith("http://")),
                "timeout": REQUEST_TIMEOUT,
                "connect_timeout": CONNECT_TIMEOUT,
            },
            retry_config={
                "max_retries": TRIES,
                "retry_timeout": RETRY_FOR,
                "backoff": {"init_backoff": FIRST_WAIT, "max_backoff": LONGEST_WAIT},
            },
            **_credentials(self.name),
        )

    @property
    def _tags(self) -> dict[str, str] | None:
        return dict(self._writing.tags) or None

    def _refuse_bucket(self, key: str, error: FileNotFoundError) -> None:
        """Raise if it is not the object that is not there, but the bucket."""
        if "NoSuchBucket" in str(error):
            raise _explained(str(error), self.name, key)

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        """Explain what fails. The cause is left out: S3 quotes what was signed, tokens too."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, ValueError) as error:
            explained = _explained(str(error), self.name, key)
        else:
            return
        raise explained


class _CutError(Exception):
    """A list ended before its end."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _Reader(io.RawIOBase):
    """An object as a file, each read of which is a request."""

    def __init__(self, read: Callable[[Listed, int, int], Any], found: Listed) -> None:
        super().__init__()
        self._read = read
        self._found = found
        self._position = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._found.size}
        self._position = start[whence] + offset
        return self._position

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(view.nbytes, self._found.size - self._position)
        if wanted <= 0:
            return 0
        content = self._read(self._found, self._position, wanted)
        if content is None:
            raise OSError(f"{self._found.key} was written anew while it was read")
        view[:wanted] = memoryview(content)
        self._position += wanted
        return wanted


@cache
def open_bucket(name: str) -> Bucket:
    """Return a bucket for reading, always the same for a name: it keeps its connections."""
    return Bucket(name)


def at_once(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Do a piece of work that waits for S3 for many items side by side, and keep their order."""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="s3") as pool:
        yield from pool.map(work, items)


def _listed(found: Any) -> Listed:  # noqa: ANN401 - a dictionary of obstore's
    return Listed(found["path"], found["size"], found["e_tag"] or "", found["last_modified"])


def _endpoint() -> str | None:
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)


def _credentials(bucket: str) -> dict[str, Any]:
    """Return what obstore cannot find by itself: the parts of the chain that only boto3 knows."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return {}
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return {"credential_provider": Boto3CredentialProvider()}
    except ValueError:
        raise SettingsError(
            "there are no credentials for S3.",
            mend="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the "
            "machine a role.",
            culprit=f"{SCHEME}{bucket}",
        ) from None


def _explained(text: str, bucket: str, key: str) -> DataflowError:
    """Say what a failed request means, in words of ours."""
    text = text.split("\n\nDebug source", maxsplit=1)[0]
    status, code = STATUS.search(text), CODE.search(text)
    number = int(status[1]) if status else 0
    name = code[1] if code else f"status {number}"
    url = str(Address(bucket, key))
    if name == "NoSuchBucket":
        return S3RefusedError(
            f"there is no bucket {bucket!r}.",
            mend="Create it, or correct S3_BUCKET, FILES_DIR or the declared path.",
            culprit=url,
        )
    if number in (401, 403):
        return S3RefusedError(
            f"S3 does not let us in ({name}).",
            mend="Correct the AWS_* variables, or give their user the rights on the bucket that "
            "documentation/operations.md names.",
            culprit=url,
        )
    if number in (301, 307) or name == "AuthorizationHeaderMalformed":
        return S3RefusedError(
            f"the bucket {bucket!r} is in another region ({name}).",
            mend="Set AWS_REGION to the bucket's region.",
            culprit=url,
        )
    if "invalid path" in text or "Could not parse path" in text:
        return S3RefusedError(
            f"a key cannot be used: {text.removeprefix('Encountered object with ')}.",
            mend="Rename the object: keys with empty, '.' or '..' parts or control characters are "
            "not read.",
            culprit=url,
        )
    if number in REFUSALS:
        return S3RefusedError(
            f"S3 refuses the request ({name}).",
            mend="See that the server knows what was asked for: encryption and tags above all.",
            culprit=url,
        )
    why = name if number else text.rsplit(" - ", 1)[-1].strip()
    return S3UnavailableError(
        f"S3 does not answer as it should ({why}), though asked again and again.",
        mend="See that AWS_ENDPOINT_URL is right and the server is up; the run may be repeated.",
        culprit=url,
    )

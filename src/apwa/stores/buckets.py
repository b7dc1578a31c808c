"""S3, Google Cloud Storage and Azure Blob Storage, over Arrow's own clients.

They retry single requests; a transfer that breaks all the same goes on where it broke off. Files
lie under their final names once they are whole, with the time of change they have in the store, so
that a run that was killed while fetching fetches only the rest.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from apwa.stores.address import scheme_of
from apwa.stores.globs import compiled, fixed_part
from apwa.stores.progress import Broken, Fetched, Progress, Teller, persist
from apwa.tables import has_known_ending, split_part
from apwa.vocabulary import BadInput

_AT_ONCE = 8
_BLOCK = 1 << 20
_CONNECT_S, _REQUEST_S = 20.0, 60.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Object:
    """One object: its name below the folder that is fetched, and the state it is in."""

    name: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a source names: one object, or those below a folder."""

    base: str  # with its scheme
    objects: list[Object]
    one: bool
    left_out: int

    @property
    def stamp(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for each in self.objects:
            digest.update(f"{each.name}:{each.size}:{each.mtime_ns}\n".encode())
        return digest.hexdigest()


async def fetch_bucket(source: str, into: Path, say: Callable[[Progress], None]) -> Fetched:
    """Bring an object, a folder or a glob here. Raises BadInput; Broken after several tries."""
    address, part = split_part(source)
    store, found = await asyncio.to_thread(look, address)
    stopping = threading.Event()
    teller = Teller(say, len(found.objects), sum(each.size for each in found.objects))
    teller.tell(now=True)
    line = asyncio.Semaphore(_AT_ONCE)

    async def bring(each: Object) -> None:
        async with line:
            target = into / each.name
            part_of_it = _begun(target, each)
            copy = _Copy(store, each, target, part_of_it, teller, stopping)
            await persist(copy.run, copy.got)
            teller.done += 1
            teller.tell()

    try:
        async with asyncio.TaskGroup() as group:
            for each in found.objects:
                group.create_task(bring(each))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the others follow from it
    finally:
        stopping.set()
    teller.tell(now=True)
    local = into / found.objects[0].name if found.one else into
    suffix = f"#{part}" if part else ""
    return Fetched(f"{local}{suffix}", str(into), found.base, found.stamp, found.left_out)


class _Copy:
    """One object on its way, in a thread; what is there already is not fetched again."""

    def __init__(
        self, store: Any, each: Object, target: Path, begun: Path, teller: Teller,
        stopping: threading.Event,
    ) -> None:  # fmt: skip
        self._store, self._object, self._target, self._begun = store, each, target, begun
        self._teller, self._stopping = teller, stopping

    def got(self) -> int:
        return self._begun.stat().st_size if self._begun.exists() else 0

    async def run(self) -> None:
        await asyncio.to_thread(self._run)

    def _run(self) -> None:
        each, target = self._object, self._target
        if target.exists():
            about = target.stat()
            if (about.st_size, about.st_mtime_ns) == (each.size, each.mtime_ns):
                self._teller.size_bytes += each.size
                return
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._begun.open("ab") as file:
            have = file.tell()
            if have < each.size:
                self._copy(file, have)
            have = file.tell()
        if have != each.size:
            raise Broken(f"{have:,} of {each.size:,} bytes came")
        os.utime(self._begun, ns=(each.mtime_ns, each.mtime_ns))
        self._begun.rename(target)

    def _copy(self, file: Any, have: int) -> None:
        try:
            source = self._opened(have)
        except OSError as error:
            raise _named(error, self._object.path) from None
        with source:
            while not self._stopping.is_set():
                try:
                    block = source.read(_BLOCK)
                except OSError as error:
                    raise _named(error, self._object.path) from None
                if not block:
                    return
                file.write(block)
                self._teller.size_bytes += len(block)
                self._teller.tell()

    def _opened(self, have: int) -> Any:
        if not have:  # as it lies there: the default would unpack what ends in .gz
            return self._store.open_input_stream(self._object.path, compression=None)
        source = self._store.open_input_file(self._object.path)
        source.seek(have)
        return source


def _begun(target: Path, each: Object) -> Path:
    """The name of a file that is not whole: hidden, and another one for another state of it."""
    mark = hashlib.blake2b(f"{each.size}:{each.mtime_ns}".encode(), digest_size=8).hexdigest()
    return target.with_name(f".{target.name[:100]}.{mark}.part")


# ---- looking


def look(address: str) -> tuple[Any, Found]:
    """The store, and what an address names in it. Raises BadInput where there is nothing."""
    scheme = scheme_of(address)
    path = address.partition("://")[2].rstrip("/")
    bucket, _, key = path.partition("/")
    if not bucket or glob.has_magic(bucket):
        raise BadInput("the address names no bucket", address, f"Write {scheme}://BUCKET/PATH.")
    store: Any = None
    try:
        store = _STORES[scheme](bucket, os.environ)
        found = _find(store, scheme, bucket, key, is_folder=address.endswith("/"))
    except FileNotFoundError as error:
        raise _not_there(store, bucket, error, address) from None
    except OSError as error:
        raise _in_words(error, address) from None
    if not found.objects:
        raise BadInput(
            "there are no files here that a table is made of", address,
            f"{found.left_out:,} others are." if found.left_out else "Check the address.",
        )  # fmt: skip
    return store, found


def _find(store: Any, scheme: str, bucket: str, key: str, *, is_folder: bool) -> Found:
    from pyarrow import fs

    kind = fs.FileType.NotFound
    if key and not is_folder:
        about = store.get_file_info(f"{bucket}/{key}")
        kind = about.type
        if kind == fs.FileType.File:
            base = about.path.rpartition("/")[0]
            return Found(f"{scheme}://{base}", [_object(about, base)], one=True, left_out=0)
    pattern = None
    if kind == fs.FileType.NotFound and glob.has_magic(key):
        pattern = compiled(key)
        key = fixed_part(key)
    base = f"{bucket}/{key}".rstrip("/")
    inside = [
        about
        for about in store.get_file_info(
            fs.FileSelector(base, allow_not_found=True, recursive=True)
        )
        if about.type == fs.FileType.File
    ]
    if not inside:
        raise FileNotFoundError(f"{scheme}://{base}")
    objects = [
        _object(about, base)
        for about in inside
        if pattern is None or pattern.fullmatch(about.path[len(bucket) + 1 :])
    ]
    shown = [each for each in objects if not each.name.startswith(".") and "/." not in each.name]
    # a glob says what is wanted; a folder holds what it holds
    wanted = [each for each in shown if pattern is not None or has_known_ending(each.name)]
    wanted.sort(key=lambda each: each.name)
    return Found(f"{scheme}://{base}", wanted, one=False, left_out=len(shown) - len(wanted))


def _object(about: Any, base: str) -> Object:
    name = about.path[len(base) :].lstrip("/")
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise BadInput(
            "the name of an object is none that a file can have", about.path, "Give it another."
        )
    return Object(name, about.path, int(about.size or 0), int(about.mtime_ns or 0))


# ---- stores


def _s3(bucket: str, env: Mapping[str, str]) -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {}
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    if endpoint:
        place = urlsplit(endpoint)
        options = {"endpoint_override": place.netloc, "scheme": place.scheme or "https"}
        region = region or "us-east-1"
    return fs.S3FileSystem(
        region=region or fs.resolve_s3_region(bucket),
        connect_timeout=_CONNECT_S,
        request_timeout=_REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
        **options,
    )


def _gs(bucket: str, env: Mapping[str, str]) -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {}
    if emulator := env.get("STORAGE_EMULATOR_HOST"):
        place = urlsplit(emulator if "://" in emulator else f"http://{emulator}")
        options = {"endpoint_override": place.netloc, "scheme": place.scheme, "anonymous": True}
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=_REQUEST_S), **options)


def _az(bucket: str, env: Mapping[str, str]) -> Any:
    from pyarrow import fs

    said = env.get("AZURE_STORAGE_CONNECTION_STRING", "")
    pairs = [pair.partition("=") for pair in said.split(";")]
    about = {name: value for name, _, value in pairs}
    account = about.get("AccountName") or env.get("AZURE_STORAGE_ACCOUNT", "")
    if not account:
        raise BadInput(
            "no storage account is named", f"az://{bucket}",
            "Set AZURE_STORAGE_ACCOUNT, or AZURE_STORAGE_CONNECTION_STRING.",
        )  # fmt: skip
    options: dict[str, Any] = {}
    if key := about.get("AccountKey") or env.get("AZURE_STORAGE_KEY"):
        options["account_key"] = key
    elif token := env.get("AZURE_STORAGE_SAS_TOKEN"):
        options["sas_token"] = token
    if endpoint := about.get("BlobEndpoint"):
        place = urlsplit(endpoint)
        options |= {
            "blob_storage_authority": place.netloc, "blob_storage_scheme": place.scheme,
            "dfs_storage_authority": place.netloc, "dfs_storage_scheme": place.scheme,
        }  # fmt: skip
    return fs.AzureFileSystem(account, **options)


_STORES: dict[str, Callable[[str, Mapping[str, str]], Any]] = {"s3": _s3, "gs": _gs, "az": _az}

# Arrow's clients tell kinds of failure apart in their words alone.
_NO_RIGHT = (
    "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "UNRECOGNIZED_CLIENT",
    "Forbidden", "HTTP status 403", "HTTP status 401", "PermissionDenied", "Unauthenticated",
    "AuthenticationFailed", "AuthorizationFailure", "no valid authentication", "INVALID_CLIENT",
)  # fmt: skip
_NO_BUCKET = ("NO_SUCH_BUCKET", "NoSuchBucket", "ContainerNotFound", "container does not exist")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING",
}


def _says(error: OSError, words: Sequence[str]) -> bool:
    return any(word in str(error) for word in words)


def _named(error: OSError, path: str) -> Exception:
    """A failure on the way: one that stays, or one that may pass."""
    if isinstance(error, FileNotFoundError):
        return BadInput("the object has gone while it was fetched", path)
    if _says(error, _NO_RIGHT):
        return BadInput("the store gives no right to read this", path)
    return Broken(_clipped(error))


def _in_words(error: OSError, address: str) -> BadInput:
    scheme = scheme_of(address)
    if _says(error, _NO_RIGHT):
        todo = f"Keys come from the environment: {_CREDENTIALS[scheme]}."
        return BadInput("the store gives no right to read this", address, todo)
    if _says(error, _NO_BUCKET) or (str(error).startswith("Bucket ") and "not found" in str(error)):
        return _no_bucket(address)
    return BadInput(f"the store cannot be reached: {_clipped(error)}", address)


def _not_there(store: Any, bucket: str, error: OSError, address: str) -> BadInput:
    """Some stores say the same of an object that is not there and of a bucket that is not."""
    from pyarrow import fs

    try:
        about = store.get_file_info(bucket)
    except OSError:
        return _in_words(error, address)
    if about.type == fs.FileType.NotFound:
        return _no_bucket(address)
    return BadInput("there is no such object or folder", address, "Check the address.")


def _no_bucket(address: str) -> BadInput:
    bucket = address.partition("://")[2].partition("/")[0]
    return BadInput(f"there is no bucket {bucket!r}", address, "Check its name and the region.")


def _clipped(error: OSError) -> str:
    return str(error).partition("\n")[0][:300]

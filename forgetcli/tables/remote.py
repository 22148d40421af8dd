"""Tables in object stores and distributed file systems: s3://, gs:// and hdfs://, by Arrow's own clients.

Credentials, region and endpoint are those of the client (AWS_ACCESS_KEY_ID, ~/.aws, GOOGLE_APPLICATION_CREDENTIALS,
HADOOP_HOME, ...), or stand in the URI ("s3://bucket/key?region=eu-central-1&endpoint_override=localhost:9000"). Nothing
here is imported before a URI is named.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from forgetcli.errors import FileSystemError, ForgetError, UsageError
from forgetcli.files import TEMPORARY_SUFFIX
from forgetcli.printable import printable

SCHEMES = ("s3", "gs", "gcs", "hdfs", "viewfs")

GCS_RETRIES, GCS_FIRST_RETRIES = "retry_limit_seconds=30", "retry_limit_seconds=5"
"""Google's client goes on trying for 15 minutes otherwise. The first question is whether anybody is there at all: no
network or no credentials should be told in seconds."""

ATTEMPTS = 3
ANONYMOUS = "anonymous"

RENAMING = ("hdfs", "viewfs")
"""Where a file can be seen while it is written, and renaming it is one step."""

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)

_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or write ~/.aws/credentials; for a public "
    "bucket s3://anonymous@BUCKET/...",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login; for a public bucket "
    "gs://anonymous@BUCKET/...",
    "hdfs": "check the user (HADOOP_USER_NAME) and the permissions of the path",
}
_NETWORK = {
    "s3": "check the network and the endpoint: AWS_ENDPOINT_URL, AWS_DEFAULT_REGION, or ?endpoint_override=HOST:PORT&"
    "scheme=http at the end of the URI",
    "gs": "check the network, or give ?endpoint_override=HOST:PORT&scheme=http at the end of the URI",
    "hdfs": "check the name node's address: hdfs://HOST:PORT/...",
}
_HADOOP = "Hadoop's client is needed: set HADOOP_HOME, JAVA_HOME and CLASSPATH (hadoop classpath --glob)"

_FAULTS = (
    ("libjvm|libhdfs|hdfsBuilderConnect|CLASSPATH", "Hadoop's client library cannot be loaded", "hadoop"),
    ("NO_SUCH_BUCKET|bucket does not exist", "there is no such bucket", "bucket"),
    (
        "ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN|TOKEN_REFRESH"
        "|MISSING_AUTHENTICATION|UNRECOGNIZED_CLIENT|NOT_INITIALIZED|[Cc]redentials|OAuth2|PERMISSION_DENIED"
        "|UNAUTHENTICATED|HTTP response code 40[13]|Permission denied|AccessControlException",
        "access is denied, or there are no credentials",
        "credentials",
    ),
    ("NO_SUCH_KEY|NOT_FOUND|HTTP response code 404", "there is no such object", "missing"),
    ("PERMANENT_REDIRECT|HTTP response code 301|wrong region", "the bucket is in another region", "region"),
    ("[Tt]imeout|timed out|too slow|curlCode: 28|DEADLINE_EXCEEDED", "it does not answer in time", "network"),
    ("NETWORK_CONNECTION|curlCode|CURL error|UNAVAILABLE|[Cc]onnection", "it cannot be reached", "network"),
)
"""What a client's words mean, the first that matches; and which hint belongs to it."""

_CLIENTS = "AWS Error|google::cloud|HDFS|errno"
"""One of these is in whatever else a client says."""


@dataclass(frozen=True)
class Remote:
    """A file or directory of a remote file system.

    scheme: without aliases.
    uri:    as it was given, with any secrets in it.
    """

    scheme: str
    uri: str

    @property
    def name(self) -> str:
        """For messages: without what stands before the @ and behind the ?, where secrets may be."""
        rest = self.uri.partition("://")[2].partition("?")[0]
        authority, slash, path = rest.partition("/")
        if ":" in authority and "@" not in authority and self.scheme in ("s3", "gs"):
            # No port, for there is none: a secret with a / that should have been written %2F, up to the @.
            authority, slash, path = rest.rpartition("@")[2].partition("/")
        return printable(f"{self.scheme}://{authority.rpartition('@')[2]}{slash}{path}")

    def open(self, *, first: bool = False) -> tuple[Any, str]:
        """The file system (pyarrow.fs.FileSystem), and the path in it. Raises FileSystemError and UsageError.

        first: whether it is for asking whether there is anything, and gives up early.
        """
        from pyarrow import fs

        uri = self.uri
        if self.scheme == "gs" and "retry_limit_seconds" not in uri:
            uri = _with(uri, GCS_FIRST_RETRIES if first else GCS_RETRIES)
        with remote_errors(self, "read"):
            try:
                system, path = fs.FileSystem.from_uri(uri)
            except pa.ArrowInvalid as error:
                raise UsageError(
                    f"{self.name} is no valid URI: {_first_line(error, self)}",
                    hint="spaces and other signs are written as %20",
                ) from error
            return (_patient_for_a_while(system) if self.scheme == "s3" else system), path


def _patient_for_a_while(system: Any) -> Any:
    """The same S3 client, but with three attempts a request: the one that a URI gives goes on for minutes where nobody
    answers. And anonymous@ means nobody, as it does for gs://."""
    from pyarrow import fs

    _, (options,) = system.__reduce__()  # what pickle would keep: there is no other way to ask
    given = {
        name: value for name, value in options.items() if value not in (None, "", -1.0) and name != "proxy_options"
    }
    if options["proxy_options"]["host"]:
        given["proxy_options"] = options["proxy_options"]
    if given.get("access_key") == ANONYMOUS and "secret_key" not in given:
        del given["access_key"]
        given["anonymous"] = True
    return fs.S3FileSystem(**given, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS))


@dataclass(frozen=True)
class RemoteFile:
    """A file in a remote file system.

    system: pyarrow.fs.FileSystem.
    path:   in it.
    """

    place: Remote
    system: Any
    path: str

    def open(self) -> Any:
        """The file open for reading at any position: an Arrow file."""
        return self.system.open_input_file(self.path)


def remote(path: object) -> Remote | None:
    """The remote file that a path names, or None for a local one. Raises UsageError for a kind that is not known."""
    match = _URI.fullmatch(str(path)) if isinstance(path, str) else None
    if match is None:
        return None
    scheme = match[1].lower()
    if scheme in SCHEMES:
        return Remote("gs" if scheme == "gcs" else scheme, f"{scheme}://{match[2]}")
    shown = printable(str(path).partition("?")[0][:80])
    if scheme in ("s3a", "s3n"):
        raise UsageError(f"{shown}: {scheme}:// is Hadoop's name for s3://", hint="write s3://")
    if scheme in ("http", "https", "ftp"):
        raise UsageError(
            f"{shown} cannot be read over {scheme}", hint="download it, or pipe it: curl URL | forget ... -"
        )
    raise UsageError(f"{shown}: {scheme}:// is not known", hint="s3://, gs:// and hdfs:// are, and local files")


@contextmanager
def remote_errors(place: Remote, doing: str) -> Iterator[None]:
    """Turns what a client says into a FileSystemError that names the place, what is wrong and what to try.

    doing: what was tried, for the message: "read", "write".
    """
    try:
        yield
    except (ForgetError, MemoryError, pa.ArrowCancelled):
        raise
    except (OSError, pa.ArrowException) as error:
        raise _understood(place, doing, error) from error


def is_of_content(error: OSError) -> bool:
    """Whether an error while a remote file is read is of what the file holds, such as a checksum that does not fit, for
    which Arrow has the same type as for a store that fails."""
    said = str(error)
    return error.errno is None and not any(re.search(each, said) for each in (_CLIENTS, *(of[0] for of in _FAULTS)))


def _understood(place: Remote, doing: str, error: Exception) -> FileSystemError:
    said = str(error)
    kind = "gs" if place.scheme == "gs" else "s3" if place.scheme == "s3" else "hdfs"
    for pattern, reason, hint in _FAULTS:
        if re.search(pattern, said):
            hints = {
                "hadoop": _HADOOP,
                "credentials": _CREDENTIALS[kind],
                "network": _NETWORK[kind],
                "bucket": "check its name, and that it is in the account and at the endpoint that are used",
                "region": "set AWS_DEFAULT_REGION, or add ?region=REGION to the URI",
                "missing": None,
            }
            return FileSystemError(f"cannot {doing} {place.name}: {reason}", hints[hint])
    if isinstance(error, FileNotFoundError):
        return FileSystemError(f"cannot {doing} {place.name}: there is no such object")
    return FileSystemError(f"cannot {doing} {place.name}: {_first_line(error, place)}")


def _first_line(error: Exception, place: Remote) -> str:
    said = next(iter(str(error).splitlines()), type(error).__name__).replace(place.uri, place.name)
    return printable(said[:300])


def _with(uri: str, option: str) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}{option}"


def files_under(place: Remote) -> tuple[Any, str, list[str] | None]:
    """The file system, the path in it, and the paths from there on of all files below, if it is a directory; None for
    a file. Raises FileSystemError where there is nothing."""
    from pyarrow import fs

    system, path = place.open(first=True)
    with remote_errors(place, "read"):
        path = path.rstrip("/") or path
        info = system.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            system.get_file_info(fs.FileSelector(path, recursive=False))  # raises for a bucket that is not there
            raise FileNotFoundError
        if info.type != fs.FileType.Directory:
            return place.open()[0], path, None
        found = system.get_file_info(fs.FileSelector(path, recursive=True))
        files = [each.path[len(path) :].lstrip("/") for each in found if each.type == fs.FileType.File]
        return place.open()[0], path, files


def check_reachable(place: Remote) -> None:
    """Raises the FileSystemError that writing there would raise, as far as can be seen before."""
    from pyarrow import fs

    system, path = place.open(first=True)
    with remote_errors(place, "write"):
        if "/" not in path.strip("/") and place.scheme in ("s3", "gs"):
            raise UsageError(f"{place.name} names no file to write")
        if place.scheme in ("s3", "gs"):
            bucket = path.partition("/")[0]
            if system.get_file_info(bucket).type == fs.FileType.NotFound:
                raise FileSystemError(
                    f"cannot write {place.name}: there is no such bucket, or it may not be looked at",
                    "check its name and the credentials",
                )


@contextmanager
def remote_write(place: Remote) -> Iterator[BinaryIO]:
    """A binary file to write to, which is put at its place when the body ends, all of it or nothing.

    It is made in a local temporary file first. Arrow's clients finish an upload even while an error unwinds, so that
    they must never be given a part of a file; and what is uploaded in one call cannot be interrupted half way.

    Raises FileSystemError, also for an OSError of the body; the body should do nothing but write.
    """
    try:
        spool = tempfile.TemporaryFile(prefix="forgetcli-")  # noqa: SIM115
    except OSError as error:
        raise _no_room(error) from error
    with spool as file:
        try:
            yield file
            file.flush()
        except OSError as error:
            raise _no_room(error) from error
        system, path = place.open()
        with remote_errors(place, "write"):
            _put(system, path, file.fileno(), renaming=place.scheme in RENAMING)


def _no_room(error: OSError) -> FileSystemError:
    return FileSystemError(
        f"cannot write the temporary file for the upload in {tempfile.gettempdir()}: {error.strerror or error}",
        "set TMPDIR to a directory with room",
    )


def _put(system: Any, path: str, descriptor: int, *, renaming: bool) -> None:
    """Uploads the whole of an open file.

    renaming: under another name first, for file systems where a file can be seen while it is written.
    """
    content = _mapped(descriptor)
    target = path
    if renaming:
        directory, _, name = path.rpartition("/")
        target = f"{directory}/.{name}.{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"
    try:
        stream = system.open_output_stream(target)
        stream.write(content)
        stream.close()
        if renaming:
            _replace(system, target, path)
    except BaseException:
        if renaming:
            _forget_quietly(system, target)
        raise


def _replace(system: Any, source: str, target: str) -> None:
    from pyarrow import fs

    # HDFS refuses to rename onto a file that is there.
    if system.get_file_info(target).type == fs.FileType.File:
        system.delete_file(target)
    system.move(source, target)


def _forget_quietly(system: Any, path: str) -> None:
    try:
        system.delete_file(path)
    except OSError:
        return


def _mapped(descriptor: int) -> pa.Buffer:
    import mmap

    if os.fstat(descriptor).st_size == 0:
        return pa.py_buffer(b"")
    return pa.py_buffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))

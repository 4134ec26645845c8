"""Object URLs: what a location such as s3://BUCKET/FOLDER?region=eu-central-1 says, and the file system behind it."""

import importlib
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from data.errors import InputError

CONNECT_S = 5.0
STALL_S = 20.0  # without a byte
S3_OPTIONS = ("endpoint_override", "scheme", "region", "anonymous", "force_virtual_addressing", "tls_ca_file_path")
GCS = ("gs", "gcs")
BUCKETS = ("s3", *GCS, "abfs", "abfss")  # an object of these appears when it is whole; elsewhere a file grows in sight
OF_PYARROW = (*BUCKETS, "hdfs", "viewfs", "hf")  # everything else is fsspec's


@dataclass(frozen=True)
class ObjectUrl:
    """A location of an object store, taken apart."""

    location: str  # without a slash at its end
    scheme: str
    bucket: str | None  # of S3 or Google
    options: dict[str, str]  # those after the question mark

    @classmethod
    def parse(cls, location: str) -> "ObjectUrl":
        """Take a URL apart.

        Raises:
            InputError: its scheme or an option is unknown, or it names no bucket.
        """
        parts = urlsplit(location)
        path, mark, query = location.partition("?")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket = parts.netloc.rpartition("@")[2] if parts.scheme in ("s3", *GCS) else None
        url = cls(f"{path.rstrip('/')}{mark}{query}", parts.scheme, bucket, options)
        if parts.scheme in BUCKETS and not parts.netloc:
            raise InputError(f"{location}: names no bucket; write {parts.scheme}://BUCKET/FOLDER")
        if parts.scheme == "s3":
            url._check_s3()
        elif parts.scheme not in OF_PYARROW:
            _check_fsspec(location, parts.scheme.removeprefix("fsspec+"))
        return url

    @property
    def whole(self) -> bool:
        """Whether the store shows an object only when it is whole."""
        return self.scheme in BUCKETS

    @property
    def remedy(self) -> str:
        """What to check when the store does not answer as it should."""
        if self.scheme != "s3":
            return "check the credentials, the network and the location"
        endpoint = self._endpoint()
        there = f"the endpoint {endpoint[0]}://{endpoint[1]}" if endpoint else "the network"
        return f"check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE and their kin), {there} and the bucket's name"

    def of(self, name: PurePosixPath) -> str:
        """A file's URL, without options."""
        return f"{self.location.partition('?')[0]}/{name}"

    def connect(self) -> tuple[Any, str]:
        """The file system, and the path of the location in it.

        Raises:
            OSError, pyarrow.ArrowException: the store does not answer, or the URL cannot be understood.
        """
        if self.scheme == "s3":
            return self._s3(), "/".join(
                part for part in (self.bucket, unquote(urlsplit(self.location).path[1:])) if part
            )
        uri = self.location
        if self.scheme in GCS and "retry_limit_seconds" not in self.options:
            uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={STALL_S:g}"  # pyarrow's own: 15 minutes
        if self.scheme not in OF_PYARROW and not self.scheme.startswith("fsspec+"):
            uri = f"fsspec+{uri}"
        filesystem, path = fs.FileSystem.from_uri(uri)
        return filesystem, path.rstrip("/")

    def _s3(self) -> Any:
        options: dict[str, Any] = {}
        endpoint = self._endpoint()
        if endpoint:
            options |= {"scheme": endpoint[0], "endpoint_override": endpoint[1]}
        region = self.options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region is None and not endpoint:
            region = fs.resolve_s3_region(self.bucket)
        if "tls_ca_file_path" in self.options:
            options["tls_ca_file_path"] = self.options["tls_ca_file_path"]
        return fs.S3FileSystem(
            region=region,
            anonymous=self.options.get("anonymous") == "true",
            force_virtual_addressing=self.options.get("force_virtual_addressing") == "true",
            connect_timeout=CONNECT_S,
            request_timeout=STALL_S,
            background_writes=True,  # several parts at one time
            allow_delayed_open=True,  # a small object is one request
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),  # ObjectStorage tries again itself
            **options,
        )

    def _endpoint(self) -> tuple[str, str] | None:
        """Scheme and host of an S3 that is not Amazon's."""
        given = self.options.get("endpoint_override")
        given = given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if not given:
            return None
        scheme, _, host = given.rpartition("://")
        return scheme or self.options.get("scheme", "https"), host.strip("/")

    def _check_s3(self) -> None:
        for option, value in self.options.items():
            if option not in S3_OPTIONS:
                raise InputError(f"{self.location}: unknown option '{option}'; known: {', '.join(S3_OPTIONS)}")
            allowed = {
                "scheme": ("http", "https"),
                "anonymous": ("true", "false"),
                "force_virtual_addressing": ("true", "false"),
            }.get(option)
            if allowed is not None and value not in allowed:
                raise InputError(f"{self.location}: {option}={value} must be one of {', '.join(allowed)}")


def _check_fsspec(location: str, protocol: str) -> None:
    """Whether fsspec has, or can have, a file system for a protocol."""
    known = f"give a folder, file://, s3:// or gs://, or a URL of {', '.join(OF_PYARROW[3:])} or of fsspec"
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError:
        raise InputError(f"{location}: '{protocol}://' needs the package fsspec; install it, or {known}") from None
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise InputError(f"{location}: '{protocol}://' is unknown; {known}") from None
    except ImportError as error:
        raise InputError(f"{location}: '{protocol}://' needs one more package: {error}") from None

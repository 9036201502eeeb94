"""Downloads the files of a repository of the Hugging Face Hub, and verifies them.

The package huggingface_hub transfers the files, so its cache, tokens, mirrors (`HF_ENDPOINT`) and
offline mode (`HF_HUB_OFFLINE`) work as in other programs. The package does not compare checksums,
so this module does.

    models--ORG--NAME/snapshots/COMMIT/model.safetensors -> ../../blobs/SHA256
    models--ORG--NAME/snapshots/COMMIT/config.json       -> ../../blobs/GITHASH
"""

import functools
import hashlib
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from netzoo.errors import UserError, note_once, printable
from netzoo.files import MAX_TEXT, read_bytes, sha256_of
from netzoo.json_files import parse_json
from netzoo.weights.formats.read import INDEX, SHARDS

SCHEME = "hf:"
CONFIG, PROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
# Files of weights, the preferred one first.
WEIGHTS = (SAFETENSORS, f"{SAFETENSORS}{INDEX}", PICKLED, f"{PICKLED}{INDEX}")
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_LICENCE = re.compile(r"^license:[ \t]*['\"]?([\w.+-]+)", re.MULTILINE | re.ASCII)
_SHA256, _GIT_HASH = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_UNAUTHORIZED = 401

Shapes = Mapping[str, tuple[int, ...]]  # shapes of tensors by their names


class HubFiles(NamedTuple):
    """The weights of a repository on this machine."""

    path: Path  # a file, or the index of several
    sha256: Mapping[str, str]  # of each file of weights, by its name


@functools.cache
def repository(name: str) -> "Repository":
    """Return the repository of a name, at one commit for the life of this process."""
    return Repository(name)


class Repository:
    """A repository at one commit.

    Attributes:
      commit: The commit, 40 hexadecimal digits.
      config: Contents of config.json.
    """

    def __init__(self, name: str) -> None:
        """Find the commit of a name, and read config.json.

        Args:
          name: `ORG/NAME`, or `ORG/NAME@REVISION` with a branch, a tag or a commit.

        Raises:
          UserError: The package is missing, the name is malformed, there is no such repository,
            revision or file, the server cannot be reached or refuses, or the file is damaged.
        """
        parts = _NAME.fullmatch(name.removeprefix(SCHEME))
        if parts is None:
            raise UserError(
                f"{printable(name)} is not a name of the Hugging Face Hub; expected "
                f"{SCHEME}ORG/NAME or {SCHEME}ORG/NAME@REVISION, such as "
                f"{SCHEME}timm/resnet50.a1_in1k"
            )
        self.repository, revision = parts[1], parts[2] or "main"
        self._hub, self.commit = _package(name), ""
        path = self._file(CONFIG, revision)
        if path is None:
            raise UserError(
                f"{SCHEME}{self.repository} has no {CONFIG}, which names the network; download the "
                "weights, and pass the path of the file and model=NAME"
            )
        self.commit = path.parent.name  # later files belong to the same commit
        self.config: dict[str, Any] = self._json(path)

    @property
    def name(self) -> str:
        """Return the name that gives exactly this commit again."""
        return f"{SCHEME}{self.repository}@{self.commit}"

    def processor(self) -> dict[str, Any] | None:
        """Return the contents of preprocessor_config.json, or None if the repository has none."""
        path = self._file(PROCESSOR, self.commit)
        return None if path is None else self._json(path)

    def licence(self) -> str | None:
        """Return the licence that the card of the repository names, or None."""
        path = self._file(CARD, self.commit)
        if path is None:
            return None
        text = read_bytes(path, MAX_TEXT).decode(errors="replace")
        matter = text.split("---", 2)[1] if text.startswith("---") else ""
        found = _LICENCE.search(matter)
        return found[1] if found else None

    def weights(self, check: Callable[[Shapes], None] | None = None) -> HubFiles:
        """Return the verified weights, and download those that are absent.

        `model.safetensors` is preferred, as one file or several; `pytorch_model.bin` is taken only
        if nothing else exists, and netzoo's own reader executes nothing of it.

        Args:
          check: Called with the shapes of the tensors before the weights are downloaded; its errors
            stop the download. The check is left out if the weights are in the cache or not in the
            .safetensors format.

        Raises:
          UserError: There are no weights, the server cannot be reached, or a file is damaged.
        """
        path = self._weights(check)
        files = [path]
        if path.name.endswith(INDEX):
            files = [self._shard(name) for name in self._shards(path)]
        sha256 = {file.name: self._verified(file) for file in files}
        return HubFiles(path, sha256)

    def _weights(self, check: Callable[[Shapes], None] | None) -> Path:
        """Return the path of the weights, which are downloaded unless `check` raises an error."""
        if check and not any(map(self._is_cached, WEIGHTS)) and (shapes := self._header()):
            check(shapes)
        for name in WEIGHTS:
            if path := self._file(name, self.commit):
                return path
        self._require_network(SAFETENSORS)
        raise UserError(
            f"{self.name} has neither {SAFETENSORS} nor {PICKLED}, in one file or several, and "
            "netzoo does not read weights from other files"
        )

    def _shards(self, index: Path) -> list[str]:
        """Return the names of the files that an index lists."""
        names = sorted(set(self._json(index, SHARDS)["weight_map"].values()))
        if wrong := [name for name in names if Path(name).name != name]:
            raise UserError(
                f"{index.name} of {SCHEME}{self.repository} names {wrong[0]!r:.100}, which is not "
                "beside it"
            )
        return names

    def _shard(self, name: str) -> Path:
        path = self._file(name, self.commit)
        if path is None:
            self._require_network(name)
            raise UserError(f"{self.name} lacks {name}, which its index lists")
        return path

    def _header(self) -> Shapes | None:
        """Return the shapes of the tensors, without their values; empty or None if unknown."""
        parse = functools.partial(
            self._hub.parse_safetensors_file_metadata, self.repository, revision=self.commit
        )
        try:
            if self._hub.file_exists(self.repository, SAFETENSORS, revision=self.commit):
                names = [SAFETENSORS]
            else:
                index = self._file(f"{SAFETENSORS}{INDEX}", self.commit)
                names = [] if index is None else self._shards(index)
            found = [parse(name) for name in names]
        except UserError:
            raise
        except self._hub.errors.OfflineModeIsEnabled:
            return None
        except Exception as error:
            raise self._failure(SAFETENSORS, self.commit, error) from None
        return {n: tuple(info.shape) for file in found for n, info in file.tensors.items()}

    def _is_cached(self, name: str) -> bool:
        found = self._hub.try_to_load_from_cache(self.repository, name, revision=self.commit)
        return isinstance(found, str)

    def _file(self, name: str, revision: str) -> Path | None:
        """Return a file, downloaded if it is absent, or None if the repository has no such file.

        Without a connection, a file that is not in the cache counts as one that does not exist,
        because the cache of another program may hold only what that program needs.
        """
        errors = self._hub.errors
        try:
            path = Path(self._hub.hf_hub_download(self.repository, name, revision=revision))
        except errors.LocalEntryNotFoundError as error:
            if self.commit and self._hub.constants.HF_HUB_OFFLINE:
                return None
            raise self._failure(name, revision, error.__cause__ or error) from None
        except errors.EntryNotFoundError:
            return None
        except Exception as error:  # errors of the library, of its HTTP client or of the disk
            raise self._failure(name, revision, error) from None
        return path

    def _failure(self, name: str, revision: str, error: BaseException) -> UserError:
        """Return the error for a file that the library could not get."""
        errors, site = self._hub.errors, self._hub.constants.ENDPOINT
        what, address = f"{SCHEME}{self.repository}", f"{site}/{self.repository}"
        log_in = "log in with `hf auth login`, or set HF_TOKEN"
        if isinstance(error, errors.GatedRepoError):
            return UserError(f"{what} is gated: accept its terms at {address}, then {log_in}")
        if isinstance(error, errors.RevisionNotFoundError):
            return UserError(
                f"{what} has no revision {revision!r}; {address}/commits lists branches and commits"
            )
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == _UNAUTHORIZED:
            return UserError(
                f"{what}: {site} asks for a log-in, because the repository is private or does not "
                f"exist; check the name at {address}, and {log_in}"
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            return UserError(
                f"{what}: {site} has no such repository; check the name at {address}. For a "
                f"private one, {log_in}"
            )
        if isinstance(error, errors.OfflineModeIsEnabled):
            return self._not_cached(name, revision)
        return UserError(
            f"cannot download {name} of {what} from {site}: {type(error).__name__}: "
            f"{printable(str(error))}\nTry again; or download the repository on another machine, "
            "and pass the path of its folder"
        )

    def _require_network(self, name: str) -> None:
        """Raise a UserError if a file may be absent only because of the offline mode."""
        if self._hub.constants.HF_HUB_OFFLINE:
            raise self._not_cached(name, self.commit)

    def _not_cached(self, name: str, revision: str) -> UserError:
        return UserError(
            f"{SCHEME}{self.repository}: {name} of revision {revision!r} is not in the cache "
            f"{self._hub.constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids downloads; run once "
            f"without it, or copy the cache of a machine with `hf download {self.repository}`"
        )

    def _verified(self, path: Path) -> str:
        """Return the SHA-256 of a file; raise a UserError if it is not the one that the hub names.

        The cache names a large file by its SHA-256 and a small one by its Git hash.
        """
        blob = path.resolve()
        sha256 = found = sha256_of(blob)
        if _GIT_HASH.fullmatch(blob.name):
            data = read_bytes(blob)
            found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        elif not _SHA256.fullmatch(blob.name):
            note_once(f"{path}: the cache has no checksum to compare with; its sha256 is {sha256}")
            return sha256
        if found != blob.name:
            raise UserError(
                f"{path.name} of {self.name} is damaged: expected the checksum {blob.name}, got "
                f"{found}. Remove {blob}, and load the weights again"
            )
        return sha256

    def _json(self, path: Path, shape: Any = {"*": object}) -> Any:  # noqa: B006
        self._verified(path)
        try:
            return parse_json(read_bytes(path), shape)
        except ValueError as error:
            raise UserError(f"{path.name} of {SCHEME}{self.repository}: {error}") from None


def _package(name: str) -> Any:
    try:
        hub = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.errors")
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name} needs the package {error.name}: pip install 'netzoo[hub]'"
        ) from None
    return hub

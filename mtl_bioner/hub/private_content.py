"""Look for secrets and for paths of a machine in the files of a push: text, weights' metadata, texts in pictures."""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path


# The forms of tokens and keys that services document.
TOKENS = {
    "a token of the Hub": r"\bhf_[A-Za-z0-9]{30,}\b|\bapi_org_[A-Za-z0-9]{30,}\b",
    "a token of GitHub": r"\bgh[oprsu]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{50,}\b",
    "a token of GitLab": r"\bglpat-[\w-]{20,}\b",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google": r"\bAIza[\w-]{35}(?![\w-])",
    "a token of Slack": r"\bxox[abeprs]-[\w-]{10,}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a token of PyPI": r"\bpypi-[\w-]{50,}",
    "a web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY",
}
# Folders under which users keep files, with a name inside; none of them within a URL.
_ROOTS = "home|Users|root|scratch|mnt|media|data|work|workspace|tmp|var|opt|srv|gpfs|lustre|nfs|private|content|kaggle"
_PATH = rf"file:///|(?<![\w.:/\\~-])/(?:{_ROOTS})/[\w.-]+|\b[A-Za-z]:(?:\\{{1,2}}|/)Users[\\/]|(?<![\w/])~\w*/[\w.-]+/"
PATTERNS = {
    **{kind: re.compile(pattern) for kind, pattern in TOKENS.items()},
    "a path of a machine": re.compile(_PATH),
}
_LONGEST_TEXT = 1 << 22  # characters of a compressed text in a picture


def find_private_content(path: Path, secrets: dict[str, str]) -> str | None:
    """Return what kind of secret or path a file holds, None if there is none; `secrets` are known ones, by kind."""
    for text in _read_texts(path):
        for kind, secret in secrets.items():
            if secret in text:
                return kind
        for kind, pattern in PATTERNS.items():
            if pattern.search(text):
                return kind
    return None


def _read_texts(path: Path) -> Iterator[str]:
    """Yield all that a reader could find in a file as text."""
    if path.suffix == ".safetensors":
        yield _read_metadata(path)
    elif path.suffix == ".png":
        yield from _read_picture_texts(path.read_bytes())
    else:
        content = path.read_bytes().decode("utf-8", "ignore")
        yield content
        if path.suffix == ".json" and "\\" in content:  # `\/` and `\u002f` are slashes
            try:
                yield json.dumps(json.loads(content), ensure_ascii=False)
            except ValueError:
                return


def _read_metadata(path: Path) -> str:
    """Return the header of a file of safetensors: 8 bytes say how long it is."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return file.read(min(size, path.stat().st_size)).decode("utf-8", "ignore")


def _read_picture_texts(content: bytes) -> Iterator[str]:
    """Yield the texts of a PNG: a chunk is its length, its kind, the data and a checksum; some are compressed."""
    place = 8  # behind the signature
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        data = content[place + 8 : place + 8 + length]
        if kind in (b"tEXt", b"iTXt", b"eXIf"):
            yield data.decode("utf-8", "ignore")
        if kind in (b"zTXt", b"iTXt"):
            yield from _decompress(data)
        place += 12 + length


def _decompress(data: bytes) -> Iterator[str]:
    """Yield what is compressed in a chunk of text, wherever it begins behind the fields that zeros end."""
    for zero in re.finditer(rb"\0", data):
        for begin in (zero.end(), zero.end() + 1):
            try:
                yield zlib.decompressobj().decompress(data[begin:], _LONGEST_TEXT).decode("utf-8", "ignore")
            except zlib.error:
                continue

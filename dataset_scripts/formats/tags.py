"""Tags of tokens: which of them are mentions, in any of the usual schemes."""

import logging
import os
import re
from collections.abc import Callable, Sequence

from dataset_scripts.formats.files import NOT_IN_NAMES, FilePath, format_count
from dataset_scripts.schema import CorpusError, strip_invisible


logger = logging.getLogger(__name__)

UNTYPED = "Entity"  # the type of mentions whose file names none

# Prefixes of each scheme besides O. IOB1 and IOE1 write B or E between two adjacent mentions of one type only.
SCHEMES = {"iob1": "BI", "iob2": "BI", "ioe1": "IE", "ioe2": "IE", "iobes": "BIES", "bilou": "BILU"}
_TAG = re.compile(r"O(?:-.+)?|([BIESLU])(?:-(.+))?", re.DOTALL)  # O-TYPE: AIONER's tag outside of mentions
_AS_IOBES = {"L": "E", "U": "S"}
EXPECTED = "O, B-TYPE, I-TYPE (IOBES: also E-TYPE, S-TYPE; BILOU: L-TYPE, U-TYPE), or bare B and I"


def is_tag(value: str) -> bool:
    """Whether a value is a tag of any scheme."""
    return _TAG.fullmatch(value) is not None


class TagReader:
    """Reads the tags of one file, and finds out whether they keep to one scheme.

    Args:
        path: of the file, for messages.
        scheme: of `SCHEMES`, in which the tags must be; None detects it. A mention that begins with an inner tag is
            read as in IOB1 and IOE1, with a warning; where the scheme forbids it, it is an error.
    """

    def __init__(self, path: FilePath, scheme: str | None = None) -> None:
        if scheme is not None and scheme not in SCHEMES:
            raise CorpusError(f"--tag_scheme {scheme}: unknown; the schemes are {', '.join(SCHEMES)}")
        self.path = os.fspath(path)
        self.scheme = scheme
        self.known: dict[str, tuple[str, str]] = {"O": ("O", "")}  # tag -> prefix as in IOBES, type
        self.prefixes: dict[str, str] = {}  # prefix as written -> the first `file:line`
        self.strays: list[str] = []  # where mentions begin with an inner tag

    def learn(self, tag: str, where: str) -> None:
        """Add a tag that isn't known yet; raise CorpusError if it is none of the scheme."""
        match = _TAG.fullmatch(tag)
        if match is None or NOT_IN_NAMES.search(tag):
            raise CorpusError(f"{where}: {tag[:60]!r} is no tag; expected {EXPECTED}")
        written = match[1] or "O"
        if self.scheme and written not in "O" + SCHEMES[self.scheme]:
            raise CorpusError(f"{where}: the tag {tag[:60]!r} is none of --tag_scheme {self.scheme}; choose another")
        if written != "O":
            self.prefixes.setdefault(written, where)
        mention_type = "" if written == "O" else strip_invisible(match[2] or "") or UNTYPED
        self.known[tag] = _AS_IOBES.get(written, written), mention_type

    def find_mentions(self, tags: Sequence[str], locate: Callable[[int], str]) -> list[tuple[int, int, str]]:
        """Return (index of the first tag, of the last one, type) of each mention in a sentence.

        `locate` gives the `file:line` of an index.
        """
        if new := set(tags).difference(self.known):
            for index, tag in enumerate(tags):
                if tag in new and tag not in self.known:
                    self.learn(tag, locate(index))
        mentions: list[tuple[int, int, str]] = []
        open_type = ""  # the type of the mention that the next tag may continue
        for index, tag in enumerate(tags):
            if tag == "O":
                open_type = ""
                continue
            prefix, mention_type = self.known[tag]
            if prefix in "IE" and mention_type == open_type:
                mentions[-1] = (mentions[-1][0], index, mention_type)
            elif prefix != "O":
                if prefix in "IE":
                    self._add_stray(locate(index), tag)
                mentions.append((index, index, mention_type))
            open_type = "" if prefix in "OES" else mention_type
        return mentions

    def _add_stray(self, where: str, tag: str) -> None:
        if self.scheme in ("iob2", "iobes", "bilou"):
            raise CorpusError(f"{where}: {tag[:60]!r} continues no mention, which --tag_scheme {self.scheme} forbids")
        self.strays.append(where)

    def report(self) -> None:
        """Log which scheme is read if it is doubtful; raise CorpusError for a mixture of two."""
        written = "".join(sorted(self.prefixes))
        first_of_bilou = [self.prefixes[prefix] for prefix in "LU" if prefix in written]
        first_of_iobes = [self.prefixes[prefix] for prefix in "ES" if prefix in written]
        if first_of_bilou and first_of_iobes:
            places = f"BILOU's L or U ({first_of_bilou[0]}) and IOBES' E or S ({first_of_iobes[0]})"
            raise CorpusError(f"{self.path}: the tags mix {places}; write them in one scheme")
        if self.scheme or not self.strays:
            return
        mentions = format_count(len(self.strays), "mention")
        numbers = f"{mentions} beginning with an inner tag (I, E or L; the first at {self.strays[0]})"
        reading = "IOE2" if "E" in written and not set(written) & set("BS") else "IOB1"
        logger.warning("%s: %s, read as in %s; --tag_scheme names the scheme", self.path, numbers, reading)

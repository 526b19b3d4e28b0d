"""Keep the few attributes of headers that searches return or match, for a while."""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from service.web.dicomweb.header import read_whole
from service.web.dicomweb.json_model import Value

MOST: Final = 4096  # summaries
MOST_CHARACTERS: Final = 4000  # of the JSON of one summary; a usual one has about 1,500
KEPT_SECONDS: Final = 600.0  # so that patient data that retention removed does not stay
_LONGEST: Final = 1000  # characters of one attribute


@dataclass(frozen=True, slots=True)
class _Kept:
    changed: int  # when the file was, in nanoseconds
    read_at: float
    text: str  # JSON, whose size is known


class Summaries:
    """Reads summaries of headers, and keeps them as long as the file is there, for a while.

    Args:
        tags: which attributes are in a summary, those first that must not be left out.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, tags: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._tags = tuple(dict.fromkeys(tags))
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()  # the one read first comes first

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def of(self, path: Path) -> dict[str, Value]:
        """Return the summary of a file's header.

        Raises:
            UnreadableHeaderError: it is broken, or too large.
            OSError: the file cannot be read, or is gone.
        """
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            self._drop(path)
            raise
        text = self._find(path, changed)
        if text is None:
            text = self._summary(path)
            self._keep(path, changed, text)
        return cast("dict[str, Value]", json.loads(text))

    def _find(self, path: Path, changed: int) -> str | None:
        with self._lock:
            self._drop_old()
            kept = self._kept.get(path)
        return kept.text if kept is not None and kept.changed == changed else None

    def _keep(self, path: Path, changed: int, text: str) -> None:
        with self._lock:
            self._kept.pop(path, None)
            self._kept[path] = _Kept(changed, self._clock(), text)
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)

    def _drop(self, path: Path) -> None:
        with self._lock:
            self._kept.pop(path, None)

    def _drop_old(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        while self._kept and next(iter(self._kept.values())).read_at < oldest:
            self._kept.popitem(last=False)

    def _summary(self, path: Path) -> str:
        attributes = read_whole(path).attributes
        members: list[str] = []
        left = MOST_CHARACTERS
        for tag in self._tags:
            if tag in attributes and _is_plain(attributes[tag]):
                member = f'"{tag}":{json.dumps(attributes[tag], ensure_ascii=False)}'
                if len(member) <= min(left, _LONGEST):
                    members.append(member)
                    left -= len(member)
        return f"{{{','.join(members)}}}"


def _is_plain(value: dict[str, Any]) -> bool:
    return value["vr"] != "SQ" and "InlineBinary" not in value

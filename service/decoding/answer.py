"""The answer of a decoding process: values as JSON, arrays through anonymous memory (memfd)."""

import fcntl
import json
import mmap
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LONGEST_MESSAGE: Final = 1 << 16  # bytes of JSON, in either direction
_MOST_ARRAYS: Final = 8
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_KINDS: Final = frozenset({"|u1", "<u2", "<i8", "<f4", "<f8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a handler found in the bytes of a request."""

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def send(peer: socket.socket, answer: Answer) -> None:
    """Send an answer; the memory of its arrays is freed with the last process that maps it."""
    described = {
        name: {"dtype": array.dtype.str, "shape": array.shape}
        for name, array in answer.arrays.items()
    }
    message = json.dumps({"values": answer.values, "arrays": described}).encode()
    memories = [_memory(array) for array in answer.arrays.values()]
    try:
        socket.send_fds(peer, [message], memories)
    finally:
        _close(memories)


def receive(peer: socket.socket) -> Answer | None:
    """Receive an answer; None if the process ended, or sent what is no answer."""
    try:
        message, memories, _flags, _address = socket.recv_fds(peer, LONGEST_MESSAGE, _MOST_ARRAYS)
    except ConnectionError:
        return None
    try:
        parsed = json.loads(message)
        arrays = {
            name: _mapped(memory, each["dtype"], each["shape"])
            for (name, each), memory in zip(parsed["arrays"].items(), memories, strict=True)
        }
        return Answer(values=parsed["values"], arrays=arrays)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None
    finally:
        _close(memories)


def _memory(array: NDArray[Any]) -> int:
    """Write an array to anonymous memory, not mapped here, so that it can be sealed."""
    memory = os.memfd_create("decoded", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(memory, "wb", closefd=False, buffering=0) as stream:
        left = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while left:
            left = left[stream.write(left) :]
    return memory


def _mapped(memory: int, dtype: str, shape: list[int]) -> NDArray[Any]:
    """Map an array, private and writable; sealed first, so that its sender cannot shorten it.

    Raises:
        ValueError: its description does not fit its size.
    """
    if dtype not in _KINDS or any(side < 0 for side in shape):
        raise ValueError(dtype)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    size = os.fstat(memory).st_size
    if size == 0:
        return np.empty(shape, dtype)
    mapped = mmap.mmap(memory, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(mapped, dtype).reshape(shape)


def _close(memories: Iterable[int]) -> None:
    for memory in memories:
        os.close(memory)

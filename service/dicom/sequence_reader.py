"""Read a small data set with the items of its sequences, undecoded and bounded by its own bytes."""

from collections.abc import Container, Iterator
from io import BytesIO

from service.dicom.byte_sources import PlainBytes
from service.dicom.element_walker import ElementWalker


def elements(
    encoded: bytes, *, implicit: bool, sequences: Container[int] = ()
) -> Iterator[tuple[int, int, bytes]]:
    """Yield depth, tag and value of each element in Little Endian, those in items included.

    Sequences and items are elements without a value: a sequence at depth 0 has its items at depth
    1 and their elements at depth 2. In implicit VR a sequence of defined length is known only by
    `sequences`.

    Raises:
        UndecodableError: this is not a data set.
    """
    source = PlainBytes(BytesIO(encoded), len(encoded))
    walker = ElementWalker(source, implicit=implicit, sequences=sequences)
    for depth, element, value in walker.elements():
        yield depth, element.tag, value

"""Decode in processes of their own, so that bytes which crash, hang or grow end only one of them.

`DecoderPool` hands each request to a process that was forked from a template, and returns its
answer: small values as JSON, arrays as memory that both processes map. Nothing that a decoding
process sends can run code here.
"""

from service.decoding.answer import Answer
from service.decoding.failures import DecodersBusyError, DecodersLostError, DecodingError
from service.decoding.pool import DecoderPool
from service.decoding.template import Handler, Template

__all__ = [
    "Answer",
    "DecoderPool",
    "DecodersBusyError",
    "DecodersLostError",
    "DecodingError",
    "Handler",
    "Template",
]

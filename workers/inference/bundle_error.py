"""The error of a bundle that cannot be used; without torch, which costs seconds."""

from service.errors import EX_CONFIG, ExplainedError


class BundleError(ExplainedError):
    """The bundle cannot be used; the message says in one line what is wrong and what to do."""

    exit_status = EX_CONFIG

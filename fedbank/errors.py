"""What can go wrong, in three kinds.

`UsageError`: the caller's own input or configuration. `PeerError`: the other side broke the protocol.
`PeerGone`: the line is down or the other side ended. Every message is a whole sentence that names the side,
the step and the remedy, and never holds a private value.
"""

__all__ = ["FedbankError", "PeerError", "PeerGone", "UsageError"]


class FedbankError(Exception):
    """The root of all errors that fedbank raises on purpose."""


class UsageError(FedbankError):
    """The caller's own data, parameters or configuration are wrong."""


class PeerError(FedbankError):
    """The peer sent something that the protocol does not allow."""


class PeerGone(FedbankError):
    """The line to the peer is closed, or the peer did not answer before the deadline."""

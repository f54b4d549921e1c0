"""The one reason for which nobody is let in."""


class TokenRefused(Exception):  # noqa: N818 - the name of the fact
    """A bearer token that is no proof of who asks; the message says why, for the log, and never holds the token."""

"""What can keep the embedded PostgreSQL from running; every message names the fix."""


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL cannot run; the text says why and what to do."""


class BinariesError(EmbeddedPostgresError):
    """The wheel with PostgreSQL's programs is missing, or its programs cannot be run from where they are."""


class AccountError(EmbeddedPostgresError):
    """There is no account that PostgreSQL could run as."""


class DataDirectoryError(EmbeddedPostgresError):
    """The data directory cannot be entered or written, or belongs to another account."""


class DataDirectoryInUseError(EmbeddedPostgresError):
    """Another process runs on this data directory."""


class ServerError(EmbeddedPostgresError):
    """PostgreSQL ended while it started; the text carries the end of its log."""

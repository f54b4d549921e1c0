"""Columns of integers as PostgreSQL reads them from text.

The driver looks at every element of an array twice to find out whether it is one more dimension; on the hot path that
costs more than the whole fold of a deal.
"""

from collections.abc import Iterable


def int_array(values: Iterable[int | None]) -> str:
    """Return `{1,2,NULL}`, for `CAST(CAST(:name AS text) AS bigint[])`."""
    return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"

"""The tables of the log in PostgreSQL; they have no migrations, `PostgresBus.prepare` makes them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from shared.db.platform import Moment

metadata = MetaData()

Table(
    "bus_identity",
    metadata,
    Column("single", Boolean, CheckConstraint("single"), primary_key=True, server_default=text("true")),
    Column("id", Uuid, nullable=False),
)
Table(
    "bus_partition",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("next_off", BigInteger, nullable=False, server_default=text("0")),
    Column("low_off", BigInteger, nullable=False, server_default=text("0")),
)
Table(
    "bus_log",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("off", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", Moment, nullable=False, server_default=func.clock_timestamp()),
    Column("key", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
)

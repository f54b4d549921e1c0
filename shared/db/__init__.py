"""PostgreSQL: engine and transactions, outbox, write batcher, platform tables, migrations."""

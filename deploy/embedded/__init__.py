"""The default way to run: PostgreSQL and all four services in one process group, on one port."""

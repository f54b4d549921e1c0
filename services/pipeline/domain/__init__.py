"""Pure decisions of pipeline: processes, gates, moves, courses and customers, with no I/O."""

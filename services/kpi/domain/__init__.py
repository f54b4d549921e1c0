"""What a deal counts for: pure folds, facts, definitions and arithmetic, with no I/O."""

"""SQL of goals, one module per noun."""

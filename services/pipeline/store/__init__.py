"""SQL of pipeline: its tables and one module for each noun."""

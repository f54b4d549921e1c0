"""The SQL of the notify service: tables, and one module for each noun."""

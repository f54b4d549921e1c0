"""What an alert rule means and what an alert says: pure decisions."""

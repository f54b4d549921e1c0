"""What pipeline does: load, decide, save and announce, in one transaction."""

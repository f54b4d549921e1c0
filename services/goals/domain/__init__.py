"""Pure decisions of goals: who is where, what a goal asks, how it is shared out and how far it has come."""

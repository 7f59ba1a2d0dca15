"""What clients can ask for and how it is done, whichever door they come through."""

"""The wire contract, as Python."""

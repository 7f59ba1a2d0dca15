"""The gateway's server: connections within bounds, and an end that loses no request."""

"""Passengers: the contract of a record, and reading files of them."""

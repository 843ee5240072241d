"""Passengers and how fresh ingestion is: the contract of a record, reading files."""

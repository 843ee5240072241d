"""How fresh ingestion is."""

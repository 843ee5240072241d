"""`make up`, `make demo`, `make stop`: Mage and the local services, started, followed and stopped together."""

"""The command line behind `make up`, `make demo` and `make stop`: starts, follows and stops Mage and its services."""

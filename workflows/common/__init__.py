"""What every workflow needs: settings, errors, files, the warehouse, processes, and the one module that asks Mage."""

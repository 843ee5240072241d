"""What the blocks call: the logic of the six workflows, free of Mage except for `mage_api`."""

"""Guards in front of Mage's own HTTP and websocket handlers; docs/security.md lists what they hold."""

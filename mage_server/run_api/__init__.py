"""Mage's server with `/api/runs` replaced by one that many callers can use at a time; see README.md."""

"""Changes to Mage's server: the `/api/runs` endpoint, the job queue, preloading of modules, and the entry point."""

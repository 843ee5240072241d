"""Everything that changes Mage's server: `/api/runs`, the job queue, what is loaded before the fork, the launcher."""

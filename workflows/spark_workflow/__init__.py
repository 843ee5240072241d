"""Spark: a session on first use, salaries made by Spark, and their match with the fun facts."""

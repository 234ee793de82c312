"""The Batches API: requests, results, routes."""

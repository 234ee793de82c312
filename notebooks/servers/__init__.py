"""Servers that the course runs: MCP servers, and the desk of chapter 09 as a web service."""

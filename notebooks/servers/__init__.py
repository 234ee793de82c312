"""Small MCP servers that the course talks to. They are real: separate processes if you like."""

"""Bytes in and out: HTTP, server-sent events, JSON, the socket, errors as the API words them."""

"""What the API refuses: fields, schemas, turns."""

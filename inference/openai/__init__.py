"""OpenAI's API: its request bodies, its response shapes, its errors, its views."""

"""From the message of a web to the engine's requests: prompts, parts of chats, limits."""

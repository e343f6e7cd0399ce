"""Fields of request bodies: messages, prompts, tools, options, and fields that this server does not support."""

"""OpenAI's Responses API: its requests and items, its answers as events and as a whole, and what is stored of them.

Source of the shapes: https://platform.openai.com/docs/api-reference/responses.
"""

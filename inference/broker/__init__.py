"""What web and workers say to each other through Redis: requests, events, heartbeats, counters.
From outside: `stream`, `inbox`, `exchange`, `counters`.
"""

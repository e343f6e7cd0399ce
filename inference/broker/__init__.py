"""The traffic between webs and workers through Redis: messages, events, heartbeats, claims, counters.
Other packages may import all modules but `queues.enqueue`, which is for `exchange` alone.
"""

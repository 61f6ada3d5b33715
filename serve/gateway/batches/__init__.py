"""OpenAI's Batch API: files of requests, answered while nobody waits."""

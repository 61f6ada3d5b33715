"""The thin piece that each HTTP dialect needs around vLLM's own endpoints.

A candidate is one finished response in the caller's own dialect, made by vLLM; nothing is translated.
What remains per dialect: what a request asks for, how its text reads, and how a winner is handed back.
"""

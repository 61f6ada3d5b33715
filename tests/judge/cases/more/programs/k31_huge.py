def add(a, b): return list(range(10**6))

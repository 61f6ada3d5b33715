def add(a, b): return True

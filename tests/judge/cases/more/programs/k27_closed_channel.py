import os
os.close(3)
def add(a, b): return a + b

